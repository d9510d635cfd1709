//! Tokens on disk, so that records are tokenized once for all runs that read them.
//!
//! An entry is `tokens/KEY.bin` in the cache directory, where the key is a hash of all that decides
//! its content: nothing is ever out of date, and an entry can be deleted at any time. Little-endian:
//!
//! ```text
//! 8 bytes   "kdxtoken"
//! u64 × 10  format version, sequences, tokens, vocabulary (0: none), bos + 1, eos + 1, pad,
//!           skipped, truncated, dropped
//! u64       records
//! u32 × 3   for each sequence: length, file, line
//! u32       ids of all sequences
//! i32       labels of all sequences
//! 32 bytes  BLAKE3 of all before
//! ```

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::dataset::{Counts, Origin, Sequence};
use super::tokenizer::Vocabulary;
use crate::store::StoreError;
use crate::store::file::write_atomic;

/// Version of the file and of everything that turns records into tokens: raised when either
/// changes, since both would make old entries wrong.
const FORMAT_VERSION: u64 = 1;
const MAGIC: &[u8; 8] = b"kdxtoken";
const FIELDS: usize = 11;

/// A split as it is cached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) vocabulary: Option<Vocabulary>,
    pub(super) counts: Counts,
    pub(super) sequences: Vec<Sequence>,
    /// One for each sequence.
    pub(super) origins: Vec<Origin>,
}

/// Where the entry of a key is.
pub(super) fn path(cache_dir: &Path, key: &blake3::Hash) -> PathBuf {
    cache_dir.join("tokens").join(format!("{}.bin", &key.to_hex()[..32]))
}

/// Sequences and tokens that a file of the cache says it holds; none where it is not one.
pub(crate) fn contents(path: &Path) -> Option<(u64, u64)> {
    let mut start = [0; MAGIC.len() + 24];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).ok()?;
    let &[version, sequences, tokens] = start.strip_prefix(MAGIC.as_slice())?.as_chunks::<8>().0 else {
        return None;
    };
    (u64::from_le_bytes(version) == FORMAT_VERSION)
        .then_some((u64::from_le_bytes(sequences), u64::from_le_bytes(tokens)))
}

/// A hasher for a key, begun with the format version.
pub(super) fn key() -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(MAGIC).update(&FORMAT_VERSION.to_le_bytes());
    hasher
}

/// Reads an entry; none if it is not there, or damaged, which is only worth a warning.
pub(super) fn read(path: &Path) -> Option<Entry> {
    let bytes = match read_and_touch(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("cannot read the token cache {}: {error}; tokenizing again", path.display());
            return None;
        }
    };
    let entry = decode(&bytes);
    if entry.is_none() {
        tracing::warn!("the token cache {} is damaged; tokenizing again", path.display());
    }
    entry
}

/// Reads a file, and leaves its time of change as that of its last use: `kdx cache gc` goes by it.
fn read_and_touch(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // A file of another user cannot be touched, and need not be.
    let _ = file.set_modified(SystemTime::now());
    Ok(bytes)
}

/// Writes an entry. Two processes may do so at once: both write the same.
pub(super) fn write(path: &Path, entry: &Entry) -> Result<(), StoreError> {
    write_atomic(path, &encode(entry))
}

fn encode(entry: &Entry) -> Vec<u8> {
    let tokens: usize = entry.sequences.iter().map(|s| s.input_ids.len()).sum();
    let id = |id: Option<u32>| id.map_or(0, |id| u64::from(id) + 1);
    let vocabulary = entry.vocabulary;
    let fields: [u64; FIELDS] = [
        FORMAT_VERSION,
        entry.sequences.len() as u64,
        tokens as u64,
        vocabulary.map_or(0, |v| v.size as u64),
        id(vocabulary.and_then(|v| v.bos)),
        id(vocabulary.and_then(|v| v.eos)),
        vocabulary.map_or(0, |v| v.pad.into()),
        entry.counts.skipped,
        entry.counts.truncated,
        entry.counts.dropped,
        entry.counts.records,
    ];
    let mut out = Vec::with_capacity(size(entry.sequences.len(), tokens).unwrap_or(0));
    out.extend_from_slice(MAGIC);
    out.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
    for (sequence, origin) in entry.sequences.iter().zip(&entry.origins) {
        for number in [sequence.input_ids.len() as u32, origin.file, origin.line] {
            out.extend(number.to_le_bytes());
        }
    }
    out.extend(entry.sequences.iter().flat_map(|s| &s.input_ids).flat_map(|id| id.to_le_bytes()));
    out.extend(entry.sequences.iter().flat_map(|s| &s.labels).flat_map(|label| label.to_le_bytes()));
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    out
}

/// Bytes of an entry; none if the numbers are too large to be true.
fn size(sequences: usize, tokens: usize) -> Option<usize> {
    let fixed = MAGIC.len() + 8 * FIELDS + blake3::OUT_LEN;
    fixed.checked_add(sequences.checked_mul(12)?)?.checked_add(tokens.checked_mul(8)?)
}

fn decode(bytes: &[u8]) -> Option<Entry> {
    let (content, checksum) = bytes.split_last_chunk::<{ blake3::OUT_LEN }>()?;
    let body = content.strip_prefix(MAGIC)?;
    if blake3::hash(content) != *checksum {
        return None;
    }
    let (fields, body) = body.split_at_checked(8 * FIELDS)?;
    let fields: Vec<u64> = fields.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    let &[version, sequences, tokens, vocabulary, bos, eos, pad, skipped, truncated, dropped, records] =
        fields.as_slice()
    else {
        return None;
    };
    let (sequences, tokens) = (usize::try_from(sequences).ok()?, usize::try_from(tokens).ok()?);
    if version != FORMAT_VERSION || size(sequences, tokens)? != bytes.len() {
        return None;
    }
    let words: Vec<u32> = body.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    let (heads, words) = words.split_at_checked(sequences * 3)?;
    let (mut ids, mut labels) = words.split_at_checked(tokens)?;

    let id = |field: u64| field.checked_sub(1).and_then(|id| u32::try_from(id).ok());
    let mut entry = Entry {
        vocabulary: (vocabulary > 0).then_some(Vocabulary {
            size: usize::try_from(vocabulary).ok()?,
            bos: id(bos),
            eos: id(eos),
            pad: u32::try_from(pad).ok()?,
        }),
        counts: Counts { records, skipped, truncated, dropped },
        sequences: Vec::with_capacity(sequences),
        origins: Vec::with_capacity(sequences),
    };
    for &[length, file, line] in heads.as_chunks::<3>().0 {
        let (these_ids, other_ids) = ids.split_at_checked(length as usize)?;
        let (these_labels, other_labels) = labels.split_at_checked(length as usize)?;
        (ids, labels) = (other_ids, other_labels);
        entry.sequences.push(Sequence {
            input_ids: these_ids.to_vec(),
            labels: these_labels.iter().map(|label| label.cast_signed()).collect(),
        });
        entry.origins.push(Origin { file, line });
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let sequence =
            |ids: &[u32], labels: &[i32]| Sequence { input_ids: ids.to_vec(), labels: labels.to_vec() };
        Entry {
            vocabulary: Some(Vocabulary { size: 6400, bos: Some(0), eos: None, pad: 7 }),
            counts: Counts { records: 2, skipped: 3, truncated: 1, dropped: 4 },
            sequences: vec![sequence(&[5, 6, 7], &[-100, 6, 7]), sequence(&[8, 2_147_483_647], &[8, -100])],
            origins: vec![Origin { file: 0, line: 1 }, Origin { file: 1, line: 9 }],
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        assert_eq!(decode(&encode(&entry())), Some(entry()));
        let bare = Entry { vocabulary: None, sequences: Vec::new(), origins: Vec::new(), ..entry() };
        assert_eq!(decode(&encode(&bare)), Some(bare));
    }

    #[test]
    fn no_change_of_a_byte_goes_unseen_and_none_panics() {
        let bytes = encode(&entry());
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x41;
            assert_eq!(decode(&damaged), None, "byte {index}");
            assert_eq!(decode(&bytes[..index]), None, "cut at {index}");
        }
    }

    #[test]
    fn wrong_lengths_under_a_right_checksum_do_not_panic() {
        let bytes = encode(&entry());
        let content = &bytes[..bytes.len() - blake3::OUT_LEN];
        for index in 8..content.len() {
            let mut damaged = content.to_vec();
            damaged[index] = 0xFF;
            let checksum = *blake3::hash(&damaged).as_bytes();
            damaged.extend_from_slice(&checksum);
            // Counts and ids may differ; sizes that do not fit must be refused.
            if let Some(read) = decode(&damaged) {
                assert_eq!(read.sequences.len(), 2);
            }
        }
    }
}
