//! Who speaks on a connection: the subject of its client certificate.

use domain::ReplicaId;
use std::cell::RefCell;
use tonic::{Request, Status};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A peer as its certificate names it.
///
/// The certificate authority of the cluster vouches for the name; its common name is
/// `server:<id>`, `node:<name>` or `user:<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Another server.
    Server(ReplicaId),
    /// An agent's machine.
    Node(String),
    /// A person or a program.
    User(String),
}

/// Why a caller is not who they would have to be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No client certificate, or one that cannot be read.
    #[error("no readable client certificate; connect with one that the cluster's authority signed")]
    Missing,
    /// A name that has none of the known forms.
    #[error("certificate names `{0}`; its common name must be `user:`, `node:` or `server:` …")]
    Form(String),
    /// The wrong kind of caller.
    #[error("`{who}` may not do this; it takes a certificate of a {wanted}")]
    Kind {
        /// Who called.
        who: String,
        /// Who may.
        wanted: &'static str,
    },
}

impl From<IdentityError> for Status {
    fn from(error: IdentityError) -> Self {
        let code = match error {
            IdentityError::Missing | IdentityError::Form(_) => "unauthenticated",
            IdentityError::Kind { .. } => "not_authorised",
        };
        super::error::status(code, error.to_string(), "use another profile, or ask an admin", false)
    }
}

thread_local! {
    /// The certificate that this thread read last, and what it says: requests come in runs over
    /// the same connections, and reading a certificate costs as much as the rest of a small call.
    static LAST: RefCell<Option<(Vec<u8>, Identity)>> = const { RefCell::new(None) };
}

impl Identity {
    /// Reads the identity of a request's connection.
    ///
    /// # Errors
    /// When there is no certificate or its name has no known form.
    pub fn of<T>(request: &Request<T>) -> Result<Self, IdentityError> {
        let certs = request.peer_certs().ok_or(IdentityError::Missing)?;
        let first = certs.first().ok_or(IdentityError::Missing)?;
        LAST.with_borrow_mut(|last| match last {
            Some((der, identity)) if der[..] == first[..] => Ok(identity.clone()),
            _ => {
                let identity = Self::read(first)?;
                *last = Some((first.to_vec(), identity.clone()));
                Ok(identity)
            }
        })
    }

    /// Reads the identity in a certificate that TLS has verified.
    fn read(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, cert) = X509Certificate::from_der(der).map_err(|_| IdentityError::Missing)?;
        let name = cert.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok());
        Self::parse(name.ok_or(IdentityError::Missing)?)
    }

    /// Reads a common name.
    ///
    /// # Errors
    /// When it has no known form.
    pub fn parse(name: &str) -> Result<Self, IdentityError> {
        let fault = || IdentityError::Form(name.to_owned());
        match name.split_once(':') {
            Some(("server", id)) => Ok(Self::Server(ReplicaId(id.parse().map_err(|_| fault())?))),
            Some(("node", node)) if !node.is_empty() => Ok(Self::Node(node.to_owned())),
            Some(("user", user)) if !user.is_empty() => Ok(Self::User(user.to_owned())),
            _ => Err(fault()),
        }
    }

    /// The user, where only a user may call.
    ///
    /// # Errors
    /// When another kind calls.
    pub fn user(self) -> Result<String, IdentityError> {
        match self {
            Self::User(user) => Ok(user),
            other => Err(IdentityError::Kind { who: other.to_string(), wanted: "user" }),
        }
    }

    /// The node, where only an agent may call.
    ///
    /// # Errors
    /// When another kind calls.
    pub fn node(self) -> Result<String, IdentityError> {
        match self {
            Self::Node(node) => Ok(node),
            other => Err(IdentityError::Kind { who: other.to_string(), wanted: "node" }),
        }
    }

    /// The server, where only a server may call.
    ///
    /// # Errors
    /// When another kind calls.
    pub fn server(self) -> Result<ReplicaId, IdentityError> {
        match self {
            Self::Server(server) => Ok(server),
            other => Err(IdentityError::Kind { who: other.to_string(), wanted: "server" }),
        }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(id) => write!(f, "server:{}", id.0),
            Self::Node(node) => write!(f, "node:{node}"),
            Self::User(user) => write!(f, "user:{user}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_name_says_who_speaks() {
        assert_eq!(Identity::parse("server:2"), Ok(Identity::Server(ReplicaId(2))));
        assert_eq!(Identity::parse("node:node-a"), Ok(Identity::Node("node-a".into())));
        assert_eq!(Identity::parse("user:ada"), Ok(Identity::User("ada".into())));
        for bad in ["ada", "server:x", "user:", "robot:r2"] {
            assert_eq!(Identity::parse(bad), Err(IdentityError::Form(bad.into())));
        }
    }

    #[test]
    fn an_agent_may_not_act_as_a_user() {
        let fault = Identity::Node("node-a".into()).user().unwrap_err();
        assert!(fault.to_string().contains("node:node-a"), "{fault}");
    }
}
