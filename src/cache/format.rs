//! The file of a teacher's signal: what it begins with, and where what is.
//!
//! ```text
//! 8 bytes    "kdxsignl"
//! u32        bytes of the header
//! 32 bytes   BLAKE3 of the header
//! JSON       the header
//! zeros      up to byte 16384
//! data       the rows of each sequence, one sequence after the other
//! u64 × n    a checksum for each sequence: the first bytes of BLAKE3 of its rows
//! ```
//!
//! Numbers are little-endian. A file in the making (`.partial`) has the same layout with a [`Progress`] in
//! place of the header.

use serde::{Deserialize, Serialize};

/// Version of the layout and of what the numbers mean. Part of every key.
pub const FORMAT_VERSION: u32 = 1;
/// Where the data begins: on a page.
pub(super) const DATA_START: u64 = 1 << 14;
/// Bytes of a checksum.
pub(super) const CHECKSUM: u64 = 8;

const MAGIC: &[u8; 8] = b"kdxsignl";
const PARTIAL_MAGIC: &[u8; 8] = b"kdxsigpt";
const FIXED: usize = MAGIC.len() + 4 + blake3::OUT_LEN;
/// Characters of a description: even escaped, two of them leave room for the rest of the header.
const LONGEST: usize = 1000;

/// What is kept of each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalForm {
    /// The last hidden state: `width` numbers.
    Hidden,
    /// The `width` largest logits, their ids, and the logarithm of the mean exponential of all others.
    /// A sequence has the logits of all its rows, then the ids, then the others.
    Topk,
}

impl SignalForm {
    /// The word that tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Topk => "topk",
        }
    }
}

/// The type of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Element {
    /// Single precision.
    F32,
    /// bfloat16.
    Bf16,
}

impl Element {
    /// Bytes of a number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// The word that tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// How much an approximation leaves out, means over its rows at temperature 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Probability of the tokens whose logits are not kept.
    pub tail_mass: f64,
    /// KL(teacher ‖ its approximation), nats.
    pub divergence: f64,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Hash of all that decides the content, hexadecimal: the file's name.
    pub key: String,
    /// What is kept of each row.
    pub form: SignalForm,
    /// Sequences of the data set.
    pub sequences: u64,
    /// Rows: positions that count in the loss.
    pub rows: u64,
    /// Numbers of a row.
    pub width: u64,
    /// The type of the numbers.
    pub element: Element,
    /// The teacher, as people know it.
    pub teacher: String,
    /// The data, as people know it.
    pub data: String,
    /// When the file was begun, RFC 3339 in UTC.
    pub created: String,
    /// What an approximation leaves out; none for an exact signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
}

impl Header {
    /// Bytes of a row; none where the numbers are too large to be true.
    pub fn row_bytes(&self) -> Option<u64> {
        match self.form {
            SignalForm::Hidden => self.width.checked_mul(self.element.bytes()),
            SignalForm::Topk => self.width.checked_mul(8)?.checked_add(4),
        }
    }

    /// Bytes of the whole file; none where the numbers are too large to be true.
    pub fn file_bytes(&self) -> Option<u64> {
        let data = self.rows.checked_mul(self.row_bytes()?)?;
        DATA_START.checked_add(data)?.checked_add(self.sequences.checked_mul(CHECKSUM)?)
    }

    /// Whether two headers are of the same content: everything but the descriptions.
    pub fn is_like(&self, other: &Self) -> bool {
        let content = |header: &Self| {
            let Self { format_version, form, sequences, rows, width, element, .. } = *header;
            (format_version, form, sequences, rows, width, element)
        };
        self.key == other.key && content(self) == content(other)
    }

    /// The first [`DATA_START`] bytes of a file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let clipped = |text: &str| text.chars().take(LONGEST).collect::<String>();
        let header = Self { teacher: clipped(&self.teacher), data: clipped(&self.data), ..self.clone() };
        let json = serde_json::to_vec(&header).unwrap_or_default();
        let mut out = Vec::with_capacity(DATA_START as usize);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(json.len() as u32).to_le_bytes());
        out.extend_from_slice(blake3::hash(&json).as_bytes());
        out.extend_from_slice(&json);
        out.resize(DATA_START as usize, 0);
        out
    }

    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// With what is wrong with it, in words.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (fixed, rest) = bytes.split_at_checked(FIXED).ok_or("it is too short")?;
        let (magic, fixed) = fixed.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err("it does not begin like one".to_owned());
        }
        let (length, checksum) = fixed.split_at(4);
        let length = length.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let json = rest.get(..length as usize).ok_or("its header is cut short")?;
        if blake3::hash(json).as_bytes() != checksum {
            return Err("its header was changed".to_owned());
        }
        let header: Self = serde_json::from_slice(json).map_err(|error| format!("its header: {error}"))?;
        if header.format_version != FORMAT_VERSION {
            return Err(format!("it has format {}, expected {FORMAT_VERSION}", header.format_version));
        }
        Ok(header)
    }
}

/// How far a file in the making is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Progress {
    /// Sequences whose rows are on the disk, in the order of writing.
    pub sequences: u64,
    /// Sums over the rows so far, of what [`Loss`] has the means.
    pub sums: [f64; 2],
}

impl Progress {
    /// Bytes of a record.
    pub(super) const BYTES: usize = PARTIAL_MAGIC.len() + 24 + blake3::OUT_LEN;

    /// The record that a file with this header begins with until it is finished.
    pub(super) fn encode(&self, header: &Header) -> Vec<u8> {
        let mut out = PARTIAL_MAGIC.to_vec();
        out.extend_from_slice(&self.sequences.to_le_bytes());
        out.extend(self.sums.iter().flat_map(|sum| sum.to_le_bytes()));
        let checksum = Self::checksum(header, &out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    /// Reads a record; none where it is not one, or of a file with another header.
    pub(super) fn decode(header: &Header, bytes: &[u8]) -> Option<Self> {
        let (record, checksum) = bytes.split_at_checked(Self::BYTES - blake3::OUT_LEN)?;
        let numbers = record.strip_prefix(PARTIAL_MAGIC)?.as_chunks::<8>().0;
        let &[sequences, first, second] = numbers else { return None };
        if Self::checksum(header, record).as_bytes() != checksum {
            return None;
        }
        let sums = [f64::from_le_bytes(first), f64::from_le_bytes(second)];
        Some(Self { sequences: u64::from_le_bytes(sequences), sums })
    }

    fn checksum(header: &Header, record: &[u8]) -> blake3::Hash {
        let layout = format!(
            "{}\n{}\n{:?}\n{}\n{}\n{}\n{:?}\n",
            header.format_version,
            header.key,
            header.form,
            header.sequences,
            header.rows,
            header.width,
            header.element
        );
        blake3::Hasher::new().update(layout.as_bytes()).update(record).finalize()
    }
}

/// The checksum of a sequence's rows.
pub(super) fn checksum<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for piece in pieces {
        hasher.update(piece);
    }
    let mut first = [0; CHECKSUM as usize];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header of `rows` hidden states in so many sequences.
    pub fn header(sequences: u64, rows: u64, width: u64) -> Header {
        Header {
            format_version: FORMAT_VERSION,
            key: "0123456789abcdef".to_owned(),
            form: SignalForm::Hidden,
            sequences,
            rows,
            width,
            element: Element::F32,
            teacher: "a teacher".to_owned(),
            data: "training data".to_owned(),
            created: "2026-01-01T00:00:00Z".to_owned(),
            loss: None,
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let plain = header(3, 10, 4);
        assert_eq!(plain.encode().len() as u64, DATA_START);
        assert_eq!(Header::decode(&plain.encode()), Ok(plain.clone()));
        assert_eq!(plain.file_bytes(), Some(DATA_START + 10 * 16 + 3 * 8));
        let loss = Some(Loss { tail_mass: 0.01, divergence: 0.002 });
        let top = Header { form: SignalForm::Topk, loss, ..plain.clone() };
        assert_eq!(Header::decode(&top.encode()), Ok(top.clone()));
        assert_eq!(top.file_bytes(), Some(DATA_START + 10 * 36 + 3 * 8));
        assert!(!top.is_like(&plain));

        let wordy = Header { teacher: "\u{1}".repeat(9000), data: "ü".repeat(9000), ..plain.clone() };
        assert_eq!(wordy.encode().len() as u64, DATA_START);
        assert!(Header::decode(&wordy.encode()).unwrap().is_like(&plain));
    }

    #[test]
    fn no_change_of_a_header_goes_unseen_and_none_panics() {
        let bytes = header(3, 10, 4).encode();
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        for index in 0..used {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x41;
            assert!(Header::decode(&damaged).is_err(), "byte {index}");
            assert!(Header::decode(&bytes[..index]).is_err(), "cut at {index}");
        }
        let untrue = Header { rows: u64::MAX, ..header(3, 10, 4) };
        assert_eq!(untrue.file_bytes(), None);
    }

    #[test]
    fn progress_belongs_to_one_file() {
        let progress = Progress { sequences: 7, sums: [0.5, -2.0] };
        let record = progress.encode(&header(9, 10, 4));
        assert_eq!(record.len(), Progress::BYTES);
        assert_eq!(Progress::decode(&header(9, 10, 4), &record), Some(progress));
        assert_eq!(Progress::decode(&header(9, 11, 4), &record), None);
        for index in 0..record.len() {
            let mut damaged = record.clone();
            damaged[index] ^= 1;
            assert_eq!(Progress::decode(&header(9, 10, 4), &damaged), None, "byte {index}");
            assert_eq!(Progress::decode(&header(9, 10, 4), &record[..index]), None);
        }
    }
}
