//! How products with weights are made, and where weights that never change are kept in the form that products
//! read.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::precision::Precision;

/// How products are made.
#[derive(Debug, Clone, Default)]
pub struct Products {
    /// What their operands are rounded to.
    pub precision: Precision,
    /// Where weights that never change are kept as the products read them.
    pub packed: Option<Packed>,
}

/// Weights that never change, packed by the first product with them, in a form of the backend's own. Clones
/// share it.
#[derive(Clone, Default)]
pub struct Packed(Arc<OnceLock<Box<dyn Any + Send + Sync>>>);

impl Packed {
    /// Of weights that are packed already.
    pub(super) fn new<T: Any + Send + Sync>(packed: T) -> Self {
        Self(Arc::new(OnceLock::from(Box::new(packed) as Box<dyn Any + Send + Sync>)))
    }

    /// The packed weights; `pack` makes them where there are none yet.
    ///
    /// # Panics
    /// Where they were packed in another form.
    pub(super) fn get_or_pack<T: Any + Send + Sync>(&self, pack: impl FnOnce() -> T) -> &T {
        let packed = self.0.get_or_init(|| Box::new(pack()));
        packed.downcast_ref().unwrap_or_else(|| panic!("weights that were packed for another product"))
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Packed" } else { "Packed (not yet)" })
    }
}
