//! Signatures and public keys in the forms that key stores give.

use domain::port::{SignError, SignFault};
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::{EncodePublicKey, LineEnding};

/// A fault that waiting does not mend.
pub(crate) fn wrong(key: &str, why: impl Into<String>) -> SignError {
    SignError { key: key.to_owned(), why: SignFault::Wrong(why.into()) }
}

/// A signature in DER, from DER or from the two numbers one after the other.
pub(crate) fn der(key: &str, bytes: &[u8]) -> Result<Vec<u8>, SignError> {
    let signature = match bytes.len() {
        64 => Signature::from_slice(bytes),
        _ => Signature::from_der(bytes),
    };
    let signature = signature.map_err(|_| {
        wrong(key, format!("it gave {} bytes that are no ECDSA P-256 signature", bytes.len()))
    })?;
    Ok(signature.to_der().as_bytes().to_vec())
}

/// A public key from a point, bare or in an octet string.
pub(crate) fn of_point(key: &str, bytes: &[u8]) -> Result<String, SignError> {
    let point = match bytes {
        [0x04, 65, point @ ..] if point.len() == 65 => point,
        bare => bare,
    };
    VerifyingKey::from_sec1_bytes(point)
        .ok()
        .and_then(|public| public.to_public_key_pem(LineEnding::LF).ok())
        .ok_or_else(|| wrong(key, "its public half is no point of P-256"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::{SigningKey, signature::Signer};

    #[test]
    fn both_forms_of_a_signature_and_of_a_point_are_read_and_nothing_else_is() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let signature: Signature = key.sign(b"m");
        let raw = signature.to_bytes();
        let wanted = signature.to_der().as_bytes().to_vec();
        assert_eq!(der("k", &raw), Ok(wanted.clone()));
        assert_eq!(der("k", &wanted), Ok(wanted));
        assert!(der("k", &[1; 63]).is_err());
        let point = key.verifying_key().to_sec1_point(false);
        let bare = of_point("k", point.as_bytes()).unwrap();
        let wrapped = [&[0x04, 65], point.as_bytes()].concat();
        assert_eq!(of_point("k", &wrapped), Ok(bare));
        assert!(of_point("k", &[4; 65]).is_err());
    }
}
