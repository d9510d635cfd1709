//! Which keys of an experiment file hold paths.

/// The keys whose values are paths, or lists of paths.
pub const PATH_KEYS: [&str; 8] = [
    "data.train",
    "data.validation",
    "data.tokenizer",
    "data.chat_template",
    "teacher.path",
    "student.path",
    "slurm.program",
    "slurm.template",
];
