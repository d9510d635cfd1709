//! Several statements. Each entry is written as a whole, and nothing relies on more.

use std::ops::Deref;

use crate::{Connection, Result};

/// When a transaction takes the database for itself: it never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionBehavior {
    /// With its first statement.
    Deferred,
    /// When it begins.
    Immediate,
}

/// Statements on a connection.
#[derive(Debug)]
pub struct Transaction<'a> {
    connection: &'a Connection,
}

impl Transaction<'_> {
    /// Ends it; its statements are done already.
    pub async fn commit(self) -> Result<()> {
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Connection {
    /// Begins a transaction.
    pub async fn transaction_with_behavior(&mut self, _: TransactionBehavior) -> Result<Transaction<'_>> {
        Ok(Transaction { connection: self })
    }
}
