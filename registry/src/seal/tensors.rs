//! Proof metadata of safetensors files: what binds one to its manifest, without a changed weight.
//!
//! Source: rulings, 8. Only values that are the same on every run go in, before anything is hashed.

use domain::Digest;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Version of this form.
const FORMAT: &str = "1";
/// Names in `__metadata__`.
const NAMES: [&str; 3] = ["assay.format", "assay.build_key", "assay.tensors_sha256"];
/// Longest header. Source: the format's own bound.
const HEADER_MAX: u64 = 100_000_000;
/// The prefix of a byproduct that names a file's tensors.
const BYPRODUCT: &str = "tensors:";

/// A safetensors file's parts.
struct Opened {
    file: File,
    header: Map<String, Value>,
    /// Bytes of the header, padding included.
    length: u64,
}

/// Opens a file, unless it only has the name of one.
fn open(path: &Path) -> io::Result<Option<Opened>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut file = File::options().read(true).write(false).open(path)?;
    let size = file.metadata()?.len();
    let mut length = [0; 8];
    if size < 10 {
        return Ok(None);
    }
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_MAX || length > size - 8 {
        return Ok(None);
    }
    let mut text = Vec::new();
    Read::by_ref(&mut file).take(length).read_to_end(&mut text)?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(header)) => Ok(Some(Opened { file, header, length })),
        _ => Ok(None),
    }
}

/// SHA-256 of all that follows the header, written to `copy` on the way.
fn region(opened: &mut Opened, copy: &mut impl Write) -> io::Result<Digest> {
    opened.file.seek(SeekFrom::Start(8 + opened.length))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match opened.file.read(&mut buffer)? {
            0 => return Ok(Digest(hasher.finalize().into())),
            size => {
                hasher.update(&buffer[..size]);
                copy.write_all(&buffer[..size])?;
            }
        }
    }
}

/// The header with the proof in it, padded so that the tensors stay aligned, to `least` bytes.
fn marked(header: &Map<String, Value>, build_key: Digest, tensors: Digest, least: u64) -> Vec<u8> {
    let mut header = header.clone();
    let mut metadata = match header.remove("__metadata__") {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let values = [FORMAT.to_owned(), build_key.to_string(), tensors.to_string()];
    metadata.extend(NAMES.map(str::to_owned).into_iter().zip(values.map(Value::from)));
    header.insert("__metadata__".into(), Value::Object(metadata));
    let mut text = serde_json::to_vec(&header).expect("what was JSON is JSON");
    let length = (text.len() as u64).max(least).next_multiple_of(8);
    text.resize(length as usize, b' ');
    text
}

/// Writes the proof into one file. Returns the digest of its tensors; none when it is no
/// safetensors file.
fn mark(path: &Path, build_key: Digest) -> io::Result<Option<Digest>> {
    let Some(mut opened) = open(path)? else { return Ok(None) };
    let tensors = region(&mut opened, &mut io::sink())?;
    let header = marked(&opened.header, build_key, tensors, opened.length);
    if header.len() as u64 == opened.length {
        // It fits into the room of the old one.
        let mut file = File::options().write(true).open(path)?;
        file.seek(SeekFrom::Start(8))?;
        file.write_all(&header)?;
        return Ok(Some(tensors));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.assay-new"));
    let mut file = File::options().write(true).create_new(true).open(&beside)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    if region(&mut opened, &mut file)? != tensors {
        return Err(io::Error::other("the file changed while it was read"));
    }
    let meta = opened.file.metadata()?;
    file.set_permissions(meta.permissions())?;
    let (uid, gid) =
        (std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::gid(&meta));
    std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    fs::rename(&beside, path)?;
    Ok(Some(tensors))
}

fn files(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path();
        let named = path.extension().is_some_and(|kind| kind == "safetensors");
        if entry.file_type().is_file() && named {
            let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
            found.push((name, path.to_owned()));
        }
    }
    Ok(found)
}

/// Writes the proof into every safetensors file of a folder. Returns the digests of their tensors
/// by path.
///
/// # Errors
/// When a file cannot be read or written.
pub fn mark_all(folder: &Path, build_key: Digest) -> io::Result<BTreeMap<String, Digest>> {
    let mut tensors = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(tensors);
    }
    for (name, path) in files(folder)? {
        if let Some(digest) = mark(&path, build_key)? {
            tensors.insert(name, digest);
        }
    }
    Ok(tensors)
}

/// The name of a file's tensors among the byproducts of a provenance.
#[must_use]
pub fn byproduct(path: &str) -> String {
    format!("{BYPRODUCT}{path}")
}

/// Checks every safetensors file of a model against the provenance, both ways: the provenance
/// names its tensors, and its own metadata names them and the build.
///
/// # Errors
/// The first file that does not agree.
pub fn check(provenance: &Value, model: &Path) -> Result<String, String> {
    let byproducts = provenance.pointer("/predicate/runDetails/byproducts");
    let byproducts = byproducts.and_then(Value::as_array).into_iter().flatten();
    let named: BTreeMap<&str, &str> = byproducts
        .filter_map(|entry| {
            let path = entry["name"].as_str()?.strip_prefix(BYPRODUCT)?;
            Some((path, entry.pointer("/digest/sha256")?.as_str()?))
        })
        .collect();
    let key = "/predicate/buildDefinition/internalParameters/buildKey";
    let key = provenance.pointer(key).and_then(Value::as_str).unwrap_or_default();
    let mut seen = 0;
    for (name, path) in files(model).map_err(|fault| fault.to_string())? {
        let opened = open(&path).map_err(|fault| format!("`{name}`: {fault}"))?;
        let (Some(mut opened), listed) = (opened, named.get(name.as_str())) else { continue };
        let Some(listed) = listed else {
            return Err(format!("`{name}`: the provenance does not name its tensors"));
        };
        let tensors = region(&mut opened, &mut io::sink());
        let tensors = tensors.map_err(|fault| format!("`{name}`: {fault}"))?.to_string();
        let values = [FORMAT, key, &tensors];
        for (field, wanted) in NAMES.into_iter().zip(values) {
            let told = opened.header.get("__metadata__").and_then(|map| map.get(field));
            let told = told.and_then(Value::as_str).unwrap_or("nothing");
            if told != wanted {
                return Err(format!("`{name}`: its {field} is {told}, it should be {wanted}"));
            }
        }
        if **listed != tensors {
            return Err(format!("`{name}`: its tensors are {tensors}, sealed were {listed}"));
        }
        seen += 1;
    }
    if seen < named.len() {
        return Err(format!("the provenance names {} files, {seen} are there", named.len()));
    }
    Ok(match seen {
        0 => "none in this result".to_owned(),
        _ => format!("{seen} bound to their manifest"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(metadata: Option<Value>, room: usize) -> Vec<u8> {
        let mut header = json!({ "w": { "dtype": "U8", "shape": [4], "data_offsets": [0, 4] } });
        if let Some(metadata) = metadata {
            header["__metadata__"] = metadata;
        }
        let mut text = header.to_string().into_bytes();
        text.resize((text.len() + room).next_multiple_of(8), b' ');
        [&(text.len() as u64).to_le_bytes()[..], &text, &[1, 2, 3, 4]].concat()
    }

    fn provenance(key: Digest, tensors: Digest) -> Value {
        json!({ "predicate": {
            "buildDefinition": { "internalParameters": { "buildKey": key.to_string() } },
            "runDetails": { "byproducts": [
                { "name": byproduct("m.safetensors"), "digest": { "sha256": tensors.to_string() } }
            ] },
        } })
    }

    #[test]
    fn a_file_is_bound_to_its_build_and_no_weight_changes() {
        let key = Digest::of(b"build");
        for bytes in [file(None, 0), file(Some(json!({ "by": "me" })), 0), file(None, 400)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("m.safetensors");
            fs::write(&path, bytes).unwrap();
            let made = mark_all(dir.path(), key).unwrap();
            assert_eq!(made["m.safetensors"], Digest::of(&[1, 2, 3, 4]));
            let once = fs::read(&path).unwrap();
            assert!(once.ends_with(&[1, 2, 3, 4]) && (once.len() - 4).is_multiple_of(8));
            mark_all(dir.path(), key).unwrap();
            assert_eq!(fs::read(&path).unwrap(), once, "the second time changes nothing");
            let told = provenance(key, made["m.safetensors"]);
            assert_eq!(check(&told, dir.path()), Ok("1 bound to their manifest".into()));
            assert!(
                check(&provenance(Digest::of(b"x"), made["m.safetensors"]), dir.path()).is_err()
            );
            assert!(check(&provenance(key, Digest::of(b"x")), dir.path()).is_err());
            fs::remove_file(&path).unwrap();
            assert!(check(&told, dir.path()).unwrap_err().contains("0 are there"));
        }
    }

    #[test]
    fn a_file_that_only_has_the_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        for bytes in [&b""[..], b"short", &[255; 64], b"\x08\0\0\0\0\0\0\0not json weights"] {
            fs::write(&path, bytes).unwrap();
            assert!(mark_all(dir.path(), Digest::of(b"k")).unwrap().is_empty());
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}
