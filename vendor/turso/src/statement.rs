//! The statements of `cubecl-environment`, word for word but for spaces.

use std::collections::BTreeMap;

use crate::entry::Entry;
use crate::value::{Row, Value};
use crate::{Connection, Error, Result};

const META: &str = "meta";
const ENTRIES: &str = "entries";

/// The origin of what this environment made itself; what was imported gives way to it.
const LOCAL: i64 = 0;

pub fn execute(connection: &Connection, statement: &str, params: &[Value]) -> Result<u64> {
    let entries = connection.table(ENTRIES);
    match (plain(statement).as_str(), params) {
        (
            "CREATE TABLE IF NOT EXISTS meta ( k TEXT PRIMARY KEY, v TEXT NOT NULL )"
            | "CREATE TABLE IF NOT EXISTS entries ( namespace TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, \
               origin INTEGER NOT NULL, PRIMARY KEY (namespace, key) )",
            [],
        ) => Ok(0),
        ("DROP TABLE IF EXISTS entries", []) => match std::fs::remove_dir_all(connection.path().join(ENTRIES)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::IoError(error.kind(), "removing the entries"))
            }
            _ => Ok(0),
        },
        (
            "INSERT INTO meta (k, v) VALUES (?1, ?2) ON CONFLICT(k) DO UPDATE SET v = excluded.v",
            [Value::Text(name), Value::Text(value)],
        ) => {
            let (key, value) = (name.clone().into_bytes(), value.clone().into_bytes());
            let entry = Entry { namespace: String::new(), key, value, origin: LOCAL };
            connection.table(META).replace(&entry).map(|()| 1)
        }
        (
            "INSERT INTO entries (namespace, key, value, origin) VALUES (?1, ?2, ?3, ?4) ON CONFLICT(namespace, key) DO \
             UPDATE SET value = excluded.value, origin = excluded.origin WHERE entries.origin = 1 AND \
             excluded.origin = 0",
            params,
        ) => {
            let entry = entry(params)?;
            if entries.insert(&entry)? {
                return Ok(1);
            }
            let there = entries.get(&entry.namespace, &entry.key);
            let gives_way = entry.origin == LOCAL && there.is_some_and(|there| there.origin != LOCAL);
            if gives_way { entries.replace(&entry).map(|()| 1) } else { Ok(0) }
        }
        (
            "INSERT INTO entries (namespace, key, value, origin) VALUES (?1, ?2, ?3, ?4) ON CONFLICT(namespace, key) DO \
             UPDATE SET value = excluded.value, origin = excluded.origin",
            params,
        ) => entries.replace(&entry(params)?).map(|()| 1),
        ("DELETE FROM entries WHERE namespace = ?1", [Value::Text(namespace)]) => {
            let of_namespace = entries.all().into_iter().filter(|entry| entry.namespace == *namespace);
            Ok(of_namespace.filter(|entry| entries.remove(namespace, &entry.key)).count() as u64)
        }
        ("DELETE FROM entries WHERE namespace = ?1 AND key = ?2", [Value::Text(namespace), key]) => {
            Ok(u64::from(entries.remove(namespace, &key.bytes())))
        }
        (other, _) => Err(unknown(other)),
    }
}

pub fn query(connection: &Connection, statement: &str, params: &[Value]) -> Result<Vec<Row>> {
    let entries = connection.table(ENTRIES);
    match (plain(statement).as_str(), params) {
        ("SELECT v FROM meta WHERE k = ?1", [Value::Text(name)]) => {
            let found = connection.table(META).get("", name.as_bytes());
            let text = found.and_then(|entry| String::from_utf8(entry.value).ok());
            Ok(text.into_iter().map(|text| Row(vec![Value::Text(text)])).collect())
        }
        (
            "SELECT value FROM entries WHERE namespace = ?1 AND key = ?2",
            [Value::Text(namespace), key],
        ) => {
            let found = entries.get(namespace, &key.bytes());
            Ok(found.into_iter().map(|entry| Row(vec![Value::Blob(entry.value)])).collect())
        }
        ("SELECT key, value, origin FROM entries WHERE namespace = ?1", [Value::Text(namespace)]) => {
            let all = entries.all().into_iter().filter(|entry| entry.namespace == *namespace);
            let columns = |Entry { key, value, origin, .. }| {
                Row(vec![Value::Blob(key), Value::Blob(value), Value::Integer(origin)])
            };
            Ok(all.map(columns).collect())
        }
        (
            "SELECT namespace, COUNT(*), SUM(length(key) + length(value)) FROM entries GROUP BY namespace ORDER BY \
             namespace",
            [],
        ) => {
            let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
            for entry in entries.all() {
                let (count, bytes) = sums.entry(entry.namespace).or_default();
                *count += 1;
                *bytes += (entry.key.len() + entry.value.len()) as i64;
            }
            let columns = |(name, (count, bytes))| {
                Row(vec![Value::Text(name), Value::Integer(count), Value::Integer(bytes)])
            };
            Ok(sums.into_iter().map(columns).collect())
        }
        (other, _) => Err(unknown(other)),
    }
}

/// A statement with single spaces.
fn plain(statement: &str) -> String {
    statement.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn entry(params: &[Value]) -> Result<Entry> {
    match params {
        [Value::Text(namespace), key, value, Value::Integer(origin)] => Ok(Entry {
            namespace: namespace.clone(),
            key: key.bytes(),
            value: value.bytes(),
            origin: *origin,
        }),
        _ => Err(Error::Error("an entry has a namespace, a key, a value and an origin".to_owned())),
    }
}

fn unknown(statement: &str) -> Error {
    Error::Error(format!("this stand-in for turso does not know `{statement}`"))
}
