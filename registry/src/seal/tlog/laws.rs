//! What holds for every tree, beside a naive one after the words of RFC 6962.

use super::*;
use domain::Digest;
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

/// The root as RFC 6962, section 2.1, defines it.
fn naive(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            let (left, right) = (naive(&leaves[..k]), naive(&leaves[k..]));
            Digest::of(&[&[1], &left.0[..], &right.0].concat())
        }
    }
}

fn leaves(count: u64) -> Vec<Digest> {
    (0..count).map(|n| leaf_hash(format!("entry {n}").as_bytes())).collect()
}

fn tree(leaves: &[Digest]) -> Tree {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree
}

fn key() -> (SigningKey, NoteKey) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = NoteKey::new("assay.test/audit", key.verifying_key()).unwrap();
    (key, public)
}

fn signed(size: u64, root: Digest) -> SignedNote {
    let (key, public) = key();
    let text = Checkpoint { origin: public.name().to_owned(), size, root }.text();
    let signature = key.sign(text.as_bytes()).to_bytes();
    SignedNote::new(text, &public, &signature)
}

#[test]
fn the_empty_tree_and_the_first_leaves_have_the_roots_of_the_rfc() {
    let root = |entries: &[&[u8]]| {
        let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        tree(&leaves).frontier().root().to_string()
    };
    // From the tests of certificate-transparency-go.
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(root(&[]), empty);
    let one = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    assert_eq!(root(&[b""]), one);
    let two = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
    assert_eq!(root(&[b"", b"\x00"]), two);
    let three = "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77";
    assert_eq!(root(&[b"", b"\x00", b"\x10"]), three);
}

#[test]
fn every_proof_of_small_trees_holds_and_no_other_entry_does() {
    let all = leaves(40);
    for size in 1..=40 {
        let tree = tree(&all[..size]);
        let (n, root) = (size as u64, tree.frontier().root());
        assert_eq!(root, naive(&all[..size]));
        for index in 0..n {
            let proof = inclusion_proof(&tree, index, n).unwrap();
            let check = |leaf, index| verify_inclusion(&proof, leaf, index, n, root);
            assert_eq!(check(all[index as usize], index), Ok(()));
            assert!(check(leaf_hash(b"forged"), index).is_err());
            assert!(check(all[index as usize], index + 1).is_err() || n == 1);
        }
        for old in 0..=n {
            let proof = consistency_proof(&tree, old, n).unwrap();
            let before = (old, naive(&all[..old as usize]));
            assert_eq!(verify_consistency(&proof, before, (n, root)), Ok(()), "{old} {n}");
            let other = (old, Digest::of(b"other history"));
            assert!(verify_consistency(&proof, other, (n, root)).is_err(), "{old} {n}");
        }
    }
}

#[test]
fn a_proof_in_a_file_reads_back_and_holds_for_its_entry_alone() {
    let all = leaves(11);
    let tree = tree(&all);
    let proof = Proof {
        index: 6,
        hashes: inclusion_proof(&tree, 6, 11).unwrap(),
        checkpoint: signed(11, tree.frontier().root()),
    };
    let (_, key) = key();
    let read = Proof::parse(&proof.to_string()).unwrap();
    assert_eq!(read, proof);
    let head = read.verify(b"entry 6", &key).unwrap();
    assert_eq!((head.size, head.root), (11, tree.frontier().root()));
    assert!(matches!(read.verify(b"entry 7", &key), Err(ProofFault::Tree(_))));
    let with_extra = proof.to_string().replace("index ", "extra AAAA\nindex ");
    assert_eq!(Proof::parse(&with_extra).unwrap(), proof);
    let whole = proof.to_string();
    for cut in (0..whole.len()).filter(|cut| whole.is_char_boundary(*cut)) {
        let verified = Proof::parse(&whole[..cut]).and_then(|cut| cut.verify(b"entry 6", &key));
        assert!(verified.is_err(), "cut at {cut}");
    }
}

#[test]
fn a_head_of_another_key_name_or_text_is_refused() {
    let (secret, key) = key();
    let note = signed(3, Digest::of(b"root"));
    assert_eq!(Checkpoint::open(&note, &key).unwrap().size, 3);
    assert_eq!(SignedNote::parse(&note.to_string()).unwrap(), note);
    assert_eq!(NoteKey::parse(&key.to_string()).unwrap(), key);

    let stranger = SigningKey::from_bytes(&[8; 32]).verifying_key();
    let same_name = NoteKey::new(key.name(), stranger).unwrap();
    let unsigned = NoteFault::Unsigned(key.name().to_owned());
    assert_eq!(note.open(&same_name), Err(unsigned));
    let edited = SignedNote::parse(&note.to_string().replace("\n3\n", "\n4\n")).unwrap();
    assert_eq!(edited.open(&key), Err(NoteFault::Signature(key.name().to_owned())));
    let other = NoteKey::new("another/log", secret.verifying_key()).unwrap();
    let text = Checkpoint { origin: key.name().to_owned(), size: 3, root: Digest::of(b"") }.text();
    let signature = secret.sign(text.as_bytes()).to_bytes();
    let borrowed = SignedNote::new(text, &other, &signature);
    assert!(matches!(Checkpoint::open(&borrowed, &other), Err(CheckpointFault::Origin { .. })));
    let witnessed = note.clone().signed(&other, &signature);
    assert!(witnessed.open(&key).is_ok(), "signatures of others are passed over");
    for bad in ["a b", "a+b", ""] {
        assert!(NoteKey::new(bad, stranger).is_err());
    }
}

proptest! {
    #[test]
    fn a_frontier_has_the_root_of_the_whole_tree(size in 0_u64..600) {
        let all = leaves(size);
        let mut frontier = Frontier::default();
        all.iter().for_each(|leaf| frontier.push(*leaf, |_| {}));
        prop_assert_eq!(frontier.root(), naive(&all));
        let bytes = borsh::to_vec(&frontier).unwrap();
        prop_assert!(bytes.len() <= 12 + 32 * 10, "a logarithm of hashes");
    }

    #[test]
    fn a_changed_proof_does_not_hold(
        size in 2_u64..300, at in any::<u64>(), old in any::<u64>(), bit in any::<u8>(),
    ) {
        let all = leaves(size);
        let tree = tree(&all);
        let root = tree.frontier().root();
        let index = at % size;
        let mut proof = inclusion_proof(&tree, index, size).unwrap();
        let hash = at as usize % proof.len();
        proof[hash].0[usize::from(bit) % 32] ^= 1;
        prop_assert!(verify_inclusion(&proof, all[index as usize], index, size, root).is_err());
        let old = 1 + old % (size - 1);
        let before = (old, naive(&all[..old as usize]));
        let mut proof = consistency_proof(&tree, old, size).unwrap();
        let hash = at as usize % proof.len();
        proof[hash].0[usize::from(bit) % 32] ^= 1;
        prop_assert!(verify_consistency(&proof, before, (size, root)).is_err());
        proof.pop();
        prop_assert!(verify_consistency(&proof, before, (size, root)).is_err());
    }
}
