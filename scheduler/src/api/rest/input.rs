//! What a caller sends: bodies of strict JSON, words in the path, and what stands behind `?`.

use super::fault::Fault;
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, RawQuery, Request},
    http::{StatusCode, header, request::Parts},
};
use bytes::BytesMut;
use domain::{limit, model::check_family};
use http_body_util::BodyExt;
use registry::seal::canonical;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned},
};
use serde_json::{Map, Value};
use std::fmt;
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, SchemaType, Type},
    },
};

/// As many times the largest body are read before a caller is cut off.
const PATIENT: usize = 16;
/// The largest integer that every reader keeps.
const EXACT_MAX: i64 = (1 << 53) - 1;

/// A body that has the shape of `T`, to the letter.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let http = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            let why = format!("the body is `{kind}`");
            return Err(Fault::new(http, "not_json", why, "send `application/json`"));
        }
        let bytes = collect(request).await?;
        read(&bytes).map(Self)
    }
}

/// Reads all of a body. What is too large is read on for a while and thrown away, since a caller
/// who is cut off while it sends does not see the answer.
async fn collect(request: Request) -> Result<Bytes, Fault> {
    let most = usize::try_from(limit::REST_BODY_MAX.0).unwrap_or(usize::MAX);
    let (mut body, mut bytes, mut size) = (request.into_body(), BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|fault| {
            let why = format!("the body broke off: {fault}");
            Fault::malformed("not_json", why, "send all of it")
        })?;
        let Some(data) = frame.data_ref() else { continue };
        size += data.len();
        match size {
            size if size <= most => bytes.extend_from_slice(data),
            size if size <= PATIENT * most => bytes.clear(),
            _ => break,
        }
    }
    if size <= most {
        return Ok(bytes.freeze());
    }
    let why = format!("the body has more than {most} bytes");
    let hint = "send bytes by digest: `assay dataset register`, `assay submit --code`";
    Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", why, hint))
}

/// Reads I-JSON: no key twice, no number that a reader would round, nothing nested without end.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let hint = "correct the body: /openapi.json describes it";
    let mut value = canonical::parse_bytes(bytes)
        .map_err(|fault| Fault::malformed(fault.reason.word(), fault.to_string(), hint))?;
    make_whole(&mut value);
    serde_json::from_value(value)
        .map_err(|fault| Fault::malformed("invalid_body", fault.to_string(), hint))
}

/// Writes `7.0` as `7`, which is the same number, as canonical JSON does.
fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            if float.fract() == 0.0 && float.abs() <= EXACT_MAX as f64 {
                *number = (float as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(members) => members.values_mut().for_each(make_whole),
        _ => {}
    }
}

/// A word of the path.
pub struct Word(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Word {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let found = Path::<String>::from_request_parts(parts, state).await;
        let Path(word) = found.map_err(|fault| {
            Fault::malformed("invalid_path", fault.to_string(), "encode the path as UTF-8")
        })?;
        Ok(Self(word))
    }
}

/// Refuses an id in another form than the one that we print: a letter, then a number.
///
/// # Errors
/// When nothing can have it.
pub fn id(what: &str, letter: char, word: &str) -> Result<(), Fault> {
    let number = word.strip_prefix(letter).unwrap_or_default();
    let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
    match plain && (1..=15).contains(&number.len()) {
        true => Ok(()),
        false => {
            let word: String = word.chars().take(64).collect();
            Err(Fault::absent(&format!("{what} `{word}`")))
        }
    }
}

/// The version of a model that the path names: `digits@3`, `digits@prod`, or `a7` where that
/// artifact is one version.
#[derive(IntoParams)]
#[into_params(names("id"), parameter_in = Path)]
pub struct ModelId(
    #[param(pattern = "^([a-z0-9][a-z0-9._-]{0,63}@[a-z0-9][a-z0-9._-]{0,63}|a[1-9][0-9]{0,14})$")]
    pub String,
);

impl<S: Send + Sync> FromRequestParts<S> for ModelId {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        Word::from_request_parts(parts, state).await.map(|Word(word)| Self(word))
    }
}

/// What stands behind `?`, to the letter: each name once, and none that is not known.
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let Ok(RawQuery(text)) = RawQuery::from_request_parts(parts, state).await;
        asked(text.as_deref().unwrap_or_default()).map(Self)
    }
}

fn asked<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    let hint = "/openapi.json names what may be asked";
    let malformed = |why: String| Fault::malformed("invalid_query", why, hint);
    let mut all = Map::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // What is asked for are names and numbers, in which nothing needs an escape.
        if !pair.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%' && byte != b'+') {
            return Err(malformed(format!("`{name}` has a character that no name or number has")));
        }
        if all.insert(name.to_owned(), value.into()).is_some() {
            return Err(malformed(format!("`{name}` stands twice")));
        }
    }
    serde_json::from_value(all.into()).map_err(|fault| malformed(fault.to_string()))
}

/// Reads a number that stands behind `?`.
///
/// # Errors
/// When it is no whole number from 0 on.
pub fn count<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(input)?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.map(Some).ok_or_else(|| de::Error::custom(format!("`{text}` is no whole number")))
}

/// A number that was asked for, or 0.
///
/// # Errors
/// When it is 0 or above `most`.
pub fn within(name: &str, asked: Option<u64>, most: u64) -> Result<u64, Fault> {
    match asked {
        None => Ok(0),
        Some(number) if (1..=most).contains(&number) => Ok(number),
        Some(number) => {
            let why = format!("`{name}` is {number}");
            Err(Fault::malformed("invalid_query", why, &format!("give 1 to {most}")))
        }
    }
}

/// The longest page that was asked for, or 0.
///
/// # Errors
/// When no page is that long.
pub fn page(asked: Option<u64>) -> Result<u32, Fault> {
    within("limit", asked, limit::PAGE_MAX as u64).map(|length| length as u32)
}

/// The name after which a page begins, or none.
///
/// # Errors
/// When nothing has that name.
pub fn family(asked: Option<String>) -> Result<String, Fault> {
    let Some(name) = asked else { return Ok(String::new()) };
    match check_family(&name) {
        Ok(()) => Ok(name),
        Err(_) => {
            let why = format!("`after` is `{name}`");
            Err(Fault::malformed("invalid_query", why, "give the last name of the page before"))
        }
    }
}

/// The largest number of anything that is numbered here.
pub const NUMBER_MAX: u64 = 999_999_999_999_999;

/// A value that has one text.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A number.
    Number(serde_json::Number),
    /// A truth.
    Truth(bool),
}

impl PartialSchema for Scalar {
    fn schema() -> RefOr<Schema> {
        let kinds = SchemaType::from_iter([Type::String, Type::Number, Type::Boolean]);
        // Integers beyond are refused, since some readers round them.
        let most = EXACT_MAX;
        ObjectBuilder::new().schema_type(kinds).minimum(Some(-most)).maximum(Some(most)).into()
    }
}

impl ToSchema for Scalar {}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Truth(truth) => write!(f, "{truth}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Page {
        after: Option<String>,
        #[serde(default, deserialize_with = "count")]
        limit: Option<u64>,
    }

    #[test]
    fn an_id_is_written_as_we_print_it() {
        assert!(id("job", 'j', "j7").is_ok() && id("job", 'j', "j10").is_ok());
        for bad in ["", "j", "j0", "j07", "j+7", "a7", "7", "j7[1]", "j9999999999999999"] {
            assert!(id("job", 'j', bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_asked_for_is_read_to_the_letter() {
        let page = asked::<Page>("after=digits@3&limit=7").ok().unwrap();
        assert_eq!(page, Page { after: Some("digits@3".into()), limit: Some(7) });
        assert!(asked::<Page>("").is_ok());
        for bad in ["limit=x", "limit=-1", "limit=1&limit=2", "limitt=1", "limit=", "after=%00"] {
            assert!(asked::<Page>(bad).is_err(), "{bad}");
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        limit: u64,
    }

    #[test]
    fn a_body_that_readers_would_read_differently_is_read_by_none() {
        for good in [r#"{"limit": 7}"#, r#"{"limit": 7.0}"#, r#"{"limit": 7e0}"#] {
            assert_eq!(read::<Shape>(good.as_bytes()).ok().unwrap().limit, 7, "{good}");
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for bad in [
            r#"{"limit": 7, "limit": 8}"#,
            r#"{"limit": 9007199254740993}"#,
            r#"{"limit": 1e400}"#,
            r#"{"limit": "7"}"#,
            r#"{"limit": 7.5}"#,
            r#"{"limt": 7}"#,
            "",
            "null",
            &deep,
        ] {
            assert!(read::<Shape>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
