//! Why a run could not be trained.

use miette::Diagnostic;
use thiserror::Error;

use crate::cache::CacheError;
use crate::data::DataError;
use crate::model::ModelError;
use crate::store::StoreError;

/// A run could not be trained. A loss that is no longer finite is not among these: it is an outcome.
#[derive(Debug, Error, Diagnostic)]
pub enum DistillError {
    /// The data cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    /// The student cannot be made or written.
    #[error("the student's model cannot be used")]
    Student(
        #[source]
        #[diagnostic_source]
        ModelError,
    ),
    /// The teacher cannot be loaded.
    #[error("the teacher's model cannot be used")]
    Teacher(
        #[source]
        #[diagnostic_source]
        ModelError,
    ),
    /// More logits than there are.
    #[error("`teacher.top_k` is {k}, and the student's vocabulary has {vocabulary} tokens")]
    #[diagnostic(help(
        "16 to 256 logits hold nearly all of a teacher's probability; `teacher.signal = \"hidden\"` keeps \
         everything"
    ))]
    TopTooLarge {
        /// Logits of a row to be kept.
        k: usize,
        /// Rows of the student's output head.
        vocabulary: usize,
    },
    /// The teacher's signal cannot be kept.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Cache(#[from] CacheError),
    /// The run directory cannot be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// A soft loss without a teacher.
    #[error("`loss.kind = \"{kind}\"` needs a teacher, and the run has none")]
    #[diagnostic(help("declare one in `[teacher]`, or set `loss.kind = \"none\"`"))]
    NoTeacher {
        /// The soft loss, as the experiment file writes it.
        kind: String,
    },
    /// Tokenized data say nothing of a vocabulary.
    #[error(
        "the vocabulary of the student is unknown: its size is not declared, and the data came without a \
         tokenizer"
    )]
    #[diagnostic(help(
        "set `student.vocab_size` (ids go up to {highest}), or name the tokenizer in `data.tokenizer`"
    ))]
    NoVocabulary {
        /// The highest id in the data.
        highest: u32,
    },
    /// Tokens that the student has no row for.
    #[error("the tokenizer has {tokenizer} tokens, the student's vocabulary only {student}")]
    #[diagnostic(help(
        "leave `student.vocab_size` out, or use the tokenizer that the student was made with"
    ))]
    VocabularyTooNarrow {
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// Rows of the student's embedding.
        student: usize,
    },
    /// A teacher that cannot judge all the student's tokens.
    #[error("the teacher's vocabulary ({teacher}) is narrower than the student's ({student})")]
    #[diagnostic(help(
        "both must use the same tokenizer; a wider teacher is cut to the student's vocabulary, a narrower \
         one cannot be"
    ))]
    TeacherTooNarrow {
        /// Rows of the teacher's output head.
        teacher: usize,
        /// Rows of the student's.
        student: usize,
    },
}

impl DistillError {
    pub(super) fn student(error: impl Into<ModelError>) -> Self {
        Self::Student(error.into())
    }

    pub(super) fn teacher(error: impl Into<ModelError>) -> Self {
        Self::Teacher(error.into())
    }
}
