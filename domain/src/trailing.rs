//! What a later version added behind the end of a stored form: nothing is written where nothing is
//! said, so that what was stored before is read and written as it always was.
//!
//! It may stand only at the very end of a row. Inside a list the next item would be taken for it.

use borsh::{
    BorshDeserialize, BorshSerialize,
    io::{Read, Result, Write},
};

/// Writes what is not the default.
///
/// # Errors
/// Those of the writer.
pub fn write<T: BorshSerialize + Default + PartialEq, W: Write>(
    value: &T,
    writer: &mut W,
) -> Result<()> {
    if *value == T::default() { Ok(()) } else { value.serialize(writer) }
}

/// Reads what is there, or gives the default.
///
/// # Errors
/// When what is there is cut off or is no such value.
pub fn read<T: BorshDeserialize + Default, R: Read>(reader: &mut R) -> Result<T> {
    let mut first = [0];
    match reader.read(&mut first)? {
        0 => Ok(T::default()),
        _ => T::deserialize_reader(&mut first.as_slice().chain(reader)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, BorshSerialize, BorshDeserialize)]
    struct Before {
        first: u32,
    }

    #[derive(Debug, PartialEq, BorshSerialize, BorshDeserialize)]
    struct Row {
        first: u32,
        #[borsh(serialize_with = "write", deserialize_with = "read")]
        second: Option<String>,
    }

    #[test]
    fn a_row_that_says_nothing_more_has_the_bytes_that_it_had_before() {
        let silent = Row { first: 7, second: None };
        let before = borsh::to_vec(&Before { first: 7 }).unwrap();
        assert_eq!(borsh::to_vec(&silent).unwrap(), before);
        assert_eq!(borsh::from_slice::<Row>(&before).unwrap(), silent);
        let says = Row { first: 7, second: Some("x".into()) };
        let bytes = borsh::to_vec(&says).unwrap();
        assert_eq!(borsh::from_slice::<Row>(&bytes).unwrap(), says);
        for cut in before.len() + 1..bytes.len() {
            assert!(borsh::from_slice::<Row>(&bytes[..cut]).is_err(), "{cut} of its bytes");
        }
        assert!(borsh::from_slice::<Row>(&[&bytes[..], &[0]].concat()).is_err(), "one too many");
    }
}
