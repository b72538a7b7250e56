//! Who calls, and under which key.

use super::fault::Fault;
use crate::api::identity::Identity;
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, request::Parts},
};
use domain::{Digest, RequestKey, limit};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use utoipa::IntoParams;

/// What TLS told of a connection, as the services on the other port learn it.
pub type Connection = TlsConnectInfo<TcpConnectInfo>;

/// Longest key that a caller may give.
const KEY_MAX: usize = 255;

/// Who calls.
#[derive(Clone)]
pub struct Caller {
    connection: Connection,
    identity: Identity,
}

impl Caller {
    /// Reads who calls from the certificate of the connection.
    ///
    /// # Errors
    /// When there is no certificate or it names nobody.
    pub fn of(connection: Connection) -> Result<Self, Fault> {
        let mut request = tonic::Request::new(());
        request.extensions_mut().insert(connection.clone());
        let identity = Identity::of(&request).map_err(tonic::Status::from)?;
        Ok(Self { connection, identity })
    }

    /// A message as if it had come in by the other port, on this connection.
    #[must_use]
    pub fn asks<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.extensions_mut().insert(self.connection.clone());
        request
    }

    /// The user.
    ///
    /// # Errors
    /// When a node or a server calls.
    pub fn user(&self) -> Result<String, Fault> {
        Ok(self.identity.clone().user().map_err(tonic::Status::from)?)
    }

    /// Refuses a body that speaks in another's name.
    ///
    /// # Errors
    /// When `named` is given and is not the caller.
    pub fn is(&self, field: &str, named: Option<&str>) -> Result<String, Fault> {
        let user = self.user()?;
        match named {
            Some(named) if named != user => {
                let why = format!("`{field}` is `{named}`, the certificate is of `{user}`");
                Err(Fault::forbidden(why, "leave it out, or call with that certificate"))
            }
            _ => Ok(user),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let http = StatusCode::INTERNAL_SERVER_ERROR;
        let missing =
            || Fault::new(http, "internal", "the caller was not looked at", "report this");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// The key of a change: the same key with the same body has one effect and one answer.
#[derive(IntoParams)]
#[into_params(names("Idempotency-Key"), parameter_in = Header)]
pub struct Key(#[param(min_length = 1, max_length = 255, pattern = "^[!-~]+$")] String);

impl Key {
    fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        let hint = "send one header `Idempotency-Key` of 1 to 255 visible ASCII characters, and \
                    the same one on a retry";
        let mut given = headers.get_all("idempotency-key").iter();
        let (first, second) = (given.next(), given.next());
        let visible = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let sized = |text: &&str| (1..=KEY_MAX).contains(&text.len());
        let text = first.and_then(|value| value.to_str().ok()).filter(visible).filter(sized);
        match (text, second) {
            (Some(text), None) => Ok(Self(text.to_owned())),
            (None, None) if first.is_none() => {
                let why = "a change needs the header `Idempotency-Key`";
                Err(Fault::malformed("missing_idempotency_key", why, hint))
            }
            _ => {
                let why = "`Idempotency-Key` is not one key";
                Err(Fault::malformed("invalid_idempotency_key", why, hint))
            }
        }
    }

    /// The log's key: 16 bytes, another for each user.
    #[must_use]
    pub fn of_user(&self, user: &str) -> RequestKey {
        let digest = Digest::of_value(&("key of a REST call", user, &self.0));
        let mut key = [0; 16];
        key.copy_from_slice(&digest.0[..16]);
        RequestKey(key)
    }

    /// The key as the name of what triggered the call: of bounded length, and one for all users.
    #[must_use]
    pub fn trigger(&self) -> String {
        match self.0.len() <= limit::TRIGGER_MAX {
            true => self.0.clone(),
            false => Digest::of(self.0.as_bytes()).to_string(),
        }
    }

    /// Refuses a body that names another key than the header.
    ///
    /// # Errors
    /// When `named` is given and differs.
    pub fn is(&self, named: Option<&str>) -> Result<(), Fault> {
        if named.is_none_or(|named| named == self.0) {
            return Ok(());
        }
        let why = "`idempotency_key` of the body is not that of the header";
        Err(Fault::unfit(why, "leave it out of the body, or give the same one twice"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        Self::of(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_visible_word_and_each_user_has_their_own() {
        let mut headers = HeaderMap::new();
        assert!(Key::of(&headers).is_err());
        headers.insert("idempotency-key", "k-1".parse().unwrap());
        let key = Key::of(&headers).ok().unwrap();
        assert_ne!(key.of_user("ada"), key.of_user("bob"));
        assert_eq!(key.of_user("ada"), Key("k-1".into()).of_user("ada"));
        assert!(key.is(None).is_ok() && key.is(Some("k-1")).is_ok() && key.is(Some("k")).is_err());
        headers.append("idempotency-key", "k-2".parse().unwrap());
        assert!(Key::of(&headers).is_err(), "two keys are none");
        for bad in ["", "two words", &"x".repeat(256)] {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", bad.parse().unwrap());
            assert!(Key::of(&headers).is_err(), "{bad}");
        }
    }
}
