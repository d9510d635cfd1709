//! What several topics share.

pub mod sweep;
