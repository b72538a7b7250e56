//! What a caller sends: bodies of strict JSON, words in the path, and what stands behind `?`.

use super::fault::Fault;
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, RawQuery, Request},
    http::{StatusCode, header, request::Parts},
};
use domain::{limit, model::check_family};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use registry::seal::canonical;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned},
};
use serde_json::Map;
use std::fmt;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, SchemaType, Type},
    },
};

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

async fn collect(request: Request) -> Result<Bytes, Fault> {
    let most = usize::try_from(limit::REST_BODY_MAX.0).unwrap_or(usize::MAX);
    match Limited::new(request.into_body(), most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(fault) if fault.is::<LengthLimitError>() => {
            let why = format!("the body has more than {most} bytes");
            let hint = "send bytes by digest: `assay dataset register`, `assay submit --code`";
            Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", why, hint))
        }
        Err(fault) => {
            let why = format!("the body broke off: {fault}");
            Err(Fault::malformed("not_json", why, "send all of it"))
        }
    }
}

/// Reads I-JSON: no key twice, no number that a reader would round, nothing nested without end.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let hint = "correct the body: /openapi.json describes it";
    let value = canonical::parse_bytes(bytes)
        .map_err(|fault| Fault::malformed(fault.reason.word(), fault.to_string(), hint))?;
    serde_json::from_value(value)
        .map_err(|fault| Fault::malformed("invalid_body", fault.to_string(), hint))
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
    let name = asked.unwrap_or_default();
    match name.is_empty() || check_family(&name).is_ok() {
        true => Ok(name),
        false => {
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
    #[expect(dead_code, reason = "only its shape counts")]
    struct Shape {
        limit: u64,
    }

    #[test]
    fn a_body_that_readers_would_read_differently_is_read_by_none() {
        assert!(read::<Shape>(br#"{"limit": 7}"#).is_ok());
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for bad in [
            r#"{"limit": 7, "limit": 8}"#,
            r#"{"limit": 9007199254740993}"#,
            r#"{"limit": 1e400}"#,
            r#"{"limit": "7"}"#,
            r#"{"limt": 7}"#,
            "",
            "null",
            &deep,
        ] {
            assert!(read::<Shape>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
