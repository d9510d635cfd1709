//! What a user declares: the TOML types, layering, grid expansion, run identity, diagnostics.
//!
//! ```text
//! bases, file, KDX_…, --set     read       documents that know the place of everything in them
//!   → layers                               each checked against the schema; merged into one declaration
//!   → expand                               points, each checked by the rules, duplicates collapsed
//!   → identity                             run ids from configurations and the content of files
//! ```

mod axes;
mod declaration;
mod expand;
mod identity;
mod key;
mod layers;
mod load;
mod read;
mod rules;
mod schema;
pub(crate) mod suggest;
#[cfg(test)]
mod tests;

pub use declaration::{Experiment, Point};
pub use identity::{ResolveError, Resolved, Surrounding, resolve};
pub use load::{load, load_in};
pub use read::files::Surroundings;
pub use read::problem::{Problem, Problems, Warning};
pub use schema::json::json_schema;
