//! Signatures of events, checked many at once.

use super::ChainFault;
use domain::Digest;
use domain::audit::EventSignature;
use ed25519_dalek::{Signature, VerifyingKey};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Signatures of one equation: beyond some hundred, more make each hardly cheaper.
const BATCH: usize = 512;

/// A signature that is still to be checked.
struct Pending {
    seq: u64,
    signer: String,
    key: VerifyingKey,
    hash: Digest,
    signature: Signature,
}

/// Checks signatures in batches, on all cores.
///
/// One equation over random multiples holds for many signatures if it holds for each, but for
/// signatures that only the key's holder can craft; those are as good as any of his. Where it
/// does not hold, each is looked at alone, strictly.
#[derive(Default)]
pub(super) struct Signatures {
    keys: BTreeMap<String, VerifyingKey>,
    pending: Vec<Pending>,
}

impl Signatures {
    pub fn new(keys: BTreeMap<String, VerifyingKey>) -> Self {
        Self { keys, pending: Vec::new() }
    }

    /// Takes a signature of an event's hash.
    pub fn push(
        &mut self,
        seq: u64,
        hash: Digest,
        signed: &EventSignature,
    ) -> Result<(), ChainFault> {
        let fault = |why: String| ChainFault::Signature { seq, why };
        let key = *self
            .keys
            .get(&signed.signer)
            .ok_or_else(|| fault(format!("no public key of signer `{}`", signed.signer)))?;
        let signature = Signature::from_slice(&signed.bytes)
            .map_err(|_| fault("the signature is not 64 bytes long".into()))?;
        let signer = signed.signer.clone();
        self.pending.push(Pending { seq, signer, key, hash, signature });
        Ok(())
    }

    /// Checks what was gathered. Returns the first event whose signature does not hold.
    pub fn flush(&mut self) -> Option<(u64, ChainFault)> {
        let pending = std::mem::take(&mut self.pending);
        let first = |batch: &[Pending]| match batch.len() > 1 && batch_holds(batch) {
            true => None,
            false => batch.iter().find_map(|one| Some((one.seq, alone(one).err()?))),
        };
        let faults: Vec<_> = pending.par_chunks(BATCH).map(first).collect();
        faults.into_iter().flatten().next()
    }
}

fn batch_holds(batch: &[Pending]) -> bool {
    let messages: Vec<&[u8]> = batch.iter().map(|one| &one.hash.0[..]).collect();
    let signatures: Vec<Signature> = batch.iter().map(|one| one.signature).collect();
    let keys: Vec<VerifyingKey> = batch.iter().map(|one| one.key).collect();
    ed25519_dalek::verify_batch(&messages, &signatures, &keys).is_ok()
}

fn alone(one: &Pending) -> Result<(), ChainFault> {
    let not =
        |_| ChainFault::Signature { seq: one.seq, why: format!("not signed by `{}`", one.signer) };
    one.key.verify_strict(&one.hash.0, &one.signature).map_err(not)
}
