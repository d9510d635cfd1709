//! What can keep a plot from being drawn.

use plotters::prelude::DrawingAreaErrorKind;
use thiserror::Error;

/// What a drawing backend says.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct DrawError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for DrawError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}
