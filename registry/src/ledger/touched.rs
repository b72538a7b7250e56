//! What a row of the ledger is of, for whoever watches rows change.

use super::key;
use domain::{ArtifactId, PromotionId};

/// What a changed row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// A result.
    Artifact(ArtifactId),
    /// An event of the audit chain.
    Event(u64),
    /// A promotion.
    Promotion(PromotionId),
    /// A family of models, or a version of one.
    Models,
}

/// What the row under a key is of, if that is told.
#[must_use]
pub fn touched(key: &[u8]) -> Option<Touched> {
    let number = || Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?));
    match *key.first()? {
        key::ARTIFACT => Some(Touched::Artifact(ArtifactId(number()?))),
        key::EVENT => Some(Touched::Event(number()?)),
        key::PROMOTION => Some(Touched::Promotion(PromotionId(number()?))),
        key::FAMILY | key::MODEL => Some(Touched::Models),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_by_what_they_are_of() {
        let artifact = Touched::Artifact(ArtifactId(7));
        assert_eq!(touched(&key::artifact(ArtifactId(7))), Some(artifact));
        assert_eq!(touched(&key::event(9)), Some(Touched::Event(9)));
        assert_eq!(
            touched(&key::promotion(PromotionId(3))),
            Some(Touched::Promotion(PromotionId(3)))
        );
        assert_eq!(touched(&key::family_after("m")), Some(Touched::Models));
        assert_eq!(touched(&key::meta()), None);
        assert_eq!(touched(&[]), None);
    }
}
