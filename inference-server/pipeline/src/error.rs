//! What can go wrong, said so that a person knows what to do.

use std::path::PathBuf;

/// A checkpoint that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The source string is not one we understand.
    #[error("model source {given:?}: {problem}")]
    Source {
        /// What was given.
        given: String,
        /// What is wrong with it and what to write instead.
        problem: String,
    },
    /// A file that the checkpoint needs is not there.
    #[error("{file} is missing from the checkpoint at {root}: {hint}")]
    MissingFile {
        /// Path inside the checkpoint.
        file: String,
        /// The checkpoint.
        root: String,
        /// What to do.
        hint: String,
    },
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what its name says (broken JSON, truncated weights, ...).
    #[error("{file}: {problem}")]
    Malformed {
        /// Path inside the checkpoint.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A config asks for something that we cannot do.
    #[error("{file}: {field} = {value} is not supported; supported: {supported}")]
    Unsupported {
        /// Path inside the checkpoint.
        file: String,
        /// Name of the field, as in the JSON.
        field: String,
        /// Its value, as JSON.
        value: String,
        /// What would work.
        supported: String,
    },
    /// A config field is absent or has the wrong type.
    #[error("{file}: {field}: {problem}")]
    Field {
        /// Path inside the checkpoint.
        file: String,
        /// Name of the field, as in the JSON.
        field: String,
        /// What was expected and what came.
        problem: String,
    },
    /// A tensor is not in the weights.
    #[error("{file}: tensor {tensor} is missing (expected shape {expected:?})")]
    MissingTensor {
        /// The weights file (or its index).
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// The shape that the config asks for.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the config says.
    #[error("{file}: tensor {tensor} has shape {found:?}, but the config asks for {expected:?}")]
    TensorShape {
        /// The weights file.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// The shape that the config asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A variable that chooses the processor's instructions.
    #[error("{0}")]
    CpuFeatures(String),
    /// The tensor library refused.
    #[error("{0}")]
    Tensor(#[from] candle_core::Error),
}

/// A request field that cannot be used: which one, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Name of the field, as in the HTTP API.
    pub field: &'static str,
    /// What was expected and what came.
    pub problem: String,
}

/// A picture that cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request asks for something impossible.
    #[error("{0}")]
    Request(#[from] FieldError),
    /// The text could not be tokenised.
    #[error("the prompt could not be tokenised: {0}")]
    Tokenizer(String),
    /// The picture could not be encoded.
    #[error("the picture could not be encoded: {0}")]
    Encode(String),
    /// The jobs handed to one step do not fit together.
    #[error("jobs in one step must have latents of one shape, but {first:?} and {other:?} came")]
    MixedShapes {
        /// Shape of the first job's latents.
        first: Vec<usize>,
        /// The shape that differs.
        other: Vec<usize>,
    },
    /// The numbers are no longer finite: the checkpoint or the precision does not work.
    #[error("the {stage} gave numbers that are not finite; try precision f32")]
    NotFinite {
        /// Which part of the pipeline.
        stage: &'static str,
    },
    /// The tensor library refused.
    #[error("{0}")]
    Tensor(#[from] candle_core::Error),
}
