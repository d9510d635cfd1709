//! A stand-in for `turso` that keeps a map in files instead of a database. See README.md.

#![forbid(unsafe_code)]

mod entry;
mod statement;
pub mod transaction;
mod value;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use value::{FromValue, IntoParams, Row, Rows, Value};

use entry::Directory;

/// Why a statement came to nothing. The variants are those that `cubecl-environment` tells apart.
#[derive(Debug, Clone)]
pub enum Error {
    /// Another process holds what is needed; never here.
    Busy(String),
    /// As [`Error::Busy`]; never here.
    BusySnapshot(String),
    /// A statement, or a use of it, that this stand-in does not know.
    Error(String),
    /// The file system.
    IoError(std::io::ErrorKind, &'static str),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy(text) | Self::BusySnapshot(text) | Self::Error(text) => f.write_str(text),
            Self::IoError(kind, what) => write!(f, "I/O error ({what}): {kind}"),
        }
    }
}

impl std::error::Error for Error {}

/// What statements give.
pub type Result<T> = std::result::Result<T, Error>;

/// Opens a database.
#[derive(Debug)]
pub struct Builder {
    path: PathBuf,
    is_read_only: bool,
}

impl Builder {
    /// The database in the directory `path`.
    pub fn new_local(path: &str) -> Self {
        Self { path: PathBuf::from(path), is_read_only: false }
    }

    /// To be read only.
    pub fn read_only(mut self, is_read_only: bool) -> Self {
        self.is_read_only = is_read_only;
        self
    }

    /// By several processes: always.
    pub fn experimental_multiprocess_wal(self, _: bool) -> Self {
        self
    }

    /// Making it smaller: there is nothing to make smaller.
    pub fn experimental_vacuum(self, _: bool) -> Self {
        self
    }

    /// Opens it; the directory is made where it is missing.
    pub async fn build(self) -> Result<Database> {
        if !self.is_read_only {
            std::fs::create_dir_all(&self.path)
                .map_err(|error| Error::IoError(error.kind(), "making the directory of the cache"))?;
        }
        Ok(Database { path: self.path, is_read_only: self.is_read_only })
    }
}

/// An open database.
#[derive(Debug, Clone)]
pub struct Database {
    path: PathBuf,
    is_read_only: bool,
}

impl Database {
    /// A connection to it.
    pub fn connect(&self) -> Result<Connection> {
        Ok(Connection { path: self.path.clone(), is_read_only: self.is_read_only })
    }
}

/// A connection to a database.
#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
    is_read_only: bool,
}

impl Connection {
    /// How long to wait for others: nobody waits.
    pub fn busy_timeout(&self, _: Duration) -> Result<()> {
        Ok(())
    }

    /// Settings of the database: there are none, so nothing is answered.
    pub async fn pragma_query<F>(&self, _: &str, _: F) -> Result<()>
    where
        F: FnMut(&Row) -> Result<()>,
    {
        Ok(())
    }

    /// Carries out a statement; how many entries it changed.
    pub async fn execute(&self, statement: &str, params: impl IntoParams) -> Result<u64> {
        statement::execute(self, statement, &params.into_params())
    }

    /// What a statement finds.
    pub async fn query(&self, statement: &str, params: impl IntoParams) -> Result<Rows> {
        statement::query(self, statement, &params.into_params()).map(Rows::new)
    }

    /// The files of a table.
    fn table(&self, name: &str) -> Directory {
        Directory::new(self.path.join(name), self.is_read_only)
    }

    /// Where the database is.
    fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const INSERT: &str = "INSERT INTO entries (namespace, key, value, origin) VALUES (?1, ?2, ?3, ?4) \
                          ON CONFLICT(namespace, key) DO UPDATE SET value = excluded.value, origin = excluded.origin \
                          WHERE entries.origin = 1 AND excluded.origin = 0";
    const SELECT: &str = "SELECT value FROM entries WHERE namespace = ?1 AND key = ?2";

    /// Nothing here ever waits.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => unreachable!("no statement waits"),
        }
    }

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("turso-{name}-{}", std::process::id())))
        }

        fn connection(&self) -> Connection {
            now(Builder::new_local(&self.0.display().to_string()).build()).unwrap().connect().unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn insert(connection: &Connection, value: &[u8], origin: i64) -> u64 {
        now(connection.execute(INSERT, ("ptx", vec![1u8], value.to_vec(), origin))).unwrap()
    }

    fn get(connection: &Connection) -> Option<Vec<u8>> {
        let mut rows = now(connection.query(SELECT, ("ptx", vec![1u8]))).unwrap();
        now(rows.next()).unwrap().map(|row| row.get(0).unwrap())
    }

    #[test]
    fn the_first_value_of_a_key_stays_and_imported_ones_give_way() {
        let scratch = Scratch::new("first");
        let (one, other) = (scratch.connection(), scratch.connection());
        assert_eq!(insert(&one, b"imported", 1), 1);
        assert_eq!(insert(&other, b"first", 0), 1);
        assert_eq!(insert(&one, b"second", 0), 0);
        assert_eq!(get(&one).unwrap(), b"first");
    }

    #[test]
    fn what_was_cut_short_is_absent_and_written_again() {
        let scratch = Scratch::new("cut");
        let connection = scratch.connection();
        insert(&connection, &[7; 1000], 0);
        let file = std::fs::read_dir(scratch.0.join("entries")).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..500]).unwrap();
        assert_eq!(get(&connection), None);
        assert_eq!(insert(&connection, &[8; 10], 0), 1);
        assert_eq!(get(&connection).unwrap(), [8; 10]);
    }

    #[test]
    fn a_statement_of_another_version_is_refused() {
        let scratch = Scratch::new("other");
        let error = now(scratch.connection().execute("UPDATE entries SET value = 1", ())).unwrap_err();
        assert!(error.to_string().contains("UPDATE entries"), "{error}");
    }
}
