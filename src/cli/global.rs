//! Options of every command.

use std::path::PathBuf;

use crate::store::Store;

/// The store where none is chosen.
pub const DEFAULT_STORE: &str = "runs";

/// Options of every command.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Directory that holds runs, trained teachers and caches.
    #[arg(long, global = true, env = "KDX_STORE", default_value = DEFAULT_STORE, value_name = "DIR")]
    pub store: PathBuf,
}

impl Global {
    /// The store that the user chose.
    pub fn store(&self) -> Store {
        Store::new(&self.store)
    }
}
