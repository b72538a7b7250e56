//! A hardware module over PKCS#11: ECDSA P-256 over a digest.

use crate::{Module, OpenError, Secret, pem};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use domain::{
    port::{SignError, SignFault, Signer},
    signing::Custody,
};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex, PoisonError};

/// The variable that holds the PIN where no file does.
const PIN: &str = "ASSAY_PKCS11_PIN";

/// One token, shared by its keys.
struct Token {
    config: Module,
    pin: Secret,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    library: Option<Pkcs11>,
    session: Option<Session>,
    /// That the PIN was refused: a token locks itself after a few wrong ones, so it is not tried
    /// again.
    refused: bool,
}

impl State {
    /// Has the module loaded anew at the next call. It looks for tokens as it is initialised, and
    /// some look then alone: one that came later, or that another process was writing just then,
    /// would never be seen.
    fn unload(&mut self) {
        if let Some(Err(fault)) = self.library.take().map(Pkcs11::finalize) {
            tracing::warn!(%fault, "the PKCS#11 module was not finalized");
        }
    }
}

struct ModuleKey {
    label: String,
    token: Arc<Token>,
}

/// What went wrong in a call, to be told of a key.
enum Fault {
    Call(Error),
    Why(SignFault),
}

impl From<Error> for Fault {
    fn from(fault: Error) -> Self {
        Self::Call(fault)
    }
}

/// Reads the PIN. The module is loaded when it is first needed.
pub(crate) fn open(config: &Module) -> Result<Vec<Arc<dyn Signer>>, OpenError> {
    let pin = match &config.pin_file {
        Some(path) => Secret::read("PIN file", path)?,
        None => {
            Secret::of_environment(PIN).ok_or_else(|| OpenError::NoPin(config.token.clone()))?
        }
    };
    let token = Arc::new(Token { config: config.clone(), pin, state: Mutex::default() });
    let key = |label: &String| {
        Arc::new(ModuleKey { label: label.clone(), token: token.clone() }) as Arc<dyn Signer>
    };
    Ok(config.keys.iter().map(key).collect())
}

impl Token {
    /// Calls with a session that is logged in. One that broke is opened anew at the next call.
    fn with<T>(&self, call: impl FnOnce(&Session) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.refused {
            let why = "the PIN was refused, and is not tried again before the server starts anew";
            return Err(Fault::Why(SignFault::Refused(why.into())));
        }
        if state.session.is_none() {
            match self.session(&mut state) {
                Ok(session) => state.session = Some(session),
                Err(fault) => {
                    state.refused =
                        matches!(fault, Fault::Call(Error::Pkcs11(RvError::PinIncorrect, _)));
                    state.unload();
                    return Err(fault);
                }
            }
        }
        let Some(session) = &state.session else {
            return Err(Fault::Why(SignFault::Unreachable("no session".into())));
        };
        let done = call(session);
        if matches!(done, Err(Fault::Call(_))) {
            state.session = None;
        }
        done
    }

    fn session(&self, state: &mut State) -> Result<Session, Fault> {
        if state.library.is_none() {
            let library = Pkcs11::new(&self.config.module)?;
            match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
                Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
                Err(fault) => return Err(fault.into()),
            }
            state.library = Some(library);
        }
        let Some(library) = &state.library else {
            return Err(Fault::Why(SignFault::Unreachable("no module".into())));
        };
        for slot in library.get_slots_with_initialized_token()? {
            if library.get_token_info(slot)?.label() != self.config.token {
                continue;
            }
            let session = library.open_ro_session(slot)?;
            let pin = AuthPin::new(self.pin.expose().into());
            match session.login(UserType::User, Some(&pin)) {
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(fault) => return Err(fault.into()),
            }
            return Ok(session);
        }
        let why = format!("no slot has a token `{}`", self.config.token);
        Err(Fault::Why(SignFault::Unreachable(why)))
    }
}

impl ModuleKey {
    fn fault(&self, fault: Fault) -> SignError {
        let why = match fault {
            Fault::Why(why) => why,
            Fault::Call(Error::Pkcs11(
                code @ (RvError::PinIncorrect
                | RvError::PinLocked
                | RvError::PinExpired
                | RvError::KeyFunctionNotPermitted
                | RvError::MechanismInvalid
                | RvError::KeyTypeInconsistent),
                _,
            )) => SignFault::Refused(code.to_string()),
            Fault::Call(other) => SignFault::Unreachable(other.to_string()),
        };
        SignError { key: self.name(), why }
    }

    fn find(&self, session: &Session, class: ObjectClass) -> Result<ObjectHandle, Fault> {
        let found = session.find_objects(&[
            Attribute::Class(class),
            Attribute::KeyType(KeyType::EC),
            Attribute::Label(self.label.clone().into_bytes()),
        ])?;
        match found.as_slice() {
            [one] => Ok(*one),
            none_or_many => {
                let (count, label) = (none_or_many.len(), &self.label);
                let why = format!("{count} elliptic keys have the label `{label}`, not one");
                Err(Fault::Why(SignFault::Wrong(why)))
            }
        }
    }
}

impl Signer for ModuleKey {
    fn name(&self) -> String {
        format!("pkcs11:{}/{}", self.token.config.token, self.label)
    }

    fn custody(&self) -> Custody {
        Custody::Pkcs11
    }

    fn public_pem(&self) -> Result<String, SignError> {
        let point = self.token.with(|session| {
            let key = self.find(session, ObjectClass::PUBLIC_KEY)?;
            let attributes = session.get_attributes(key, &[AttributeType::EcPoint])?;
            Ok(attributes.into_iter().find_map(|it| match it {
                Attribute::EcPoint(point) => Some(point),
                _ => None,
            }))
        });
        let point = point.map_err(|fault| self.fault(fault))?.unwrap_or_default();
        pem::of_point(&self.name(), &point)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let digest = Sha256::digest(message);
        let signed = self.token.with(|session| {
            let key = self.find(session, ObjectClass::PRIVATE_KEY)?;
            Ok(session.sign(&Mechanism::Ecdsa, key, &digest)?)
        });
        pem::der(&self.name(), &signed.map_err(|fault| self.fault(fault))?)
    }
}
