//! A map whose keys and values have our types.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;

use aya::Pod;
use aya::maps::MapData;

use super::{BpfError, sys};

/// How many entries are read in one call. More than a bucket of a hash map ever holds, or the kernel would refuse (ENOSPC).
const ROOM: usize = 1024;

/// A hash map or a longest-prefix trie with keys K and values V.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    name: &'static str,
    map: MapData,
    types: PhantomData<(K, V)>,
}

impl<K: Pod + Default, V: Pod + Default> Table<K, V> {
    /// Takes a map, having compared the sizes of its keys and values: every unsafe call in [`sys`] leans on this.
    pub(super) fn new(name: &'static str, map: MapData) -> Result<Self, BpfError> {
        let info = map.info().map_err(|e| BpfError::Map {
            attempt: "ask for the shape of",
            map: name,
            source: io::Error::other(e),
        })?;
        let (key, value) = (info.key_size(), info.value_size());
        if (key as usize, value as usize) != (size_of::<K>(), size_of::<V>()) {
            return Err(BpfError::Shape { map: name, key, value });
        }
        Ok(Self { name, map, types: PhantomData })
    }

    /// Writes entries, in order.
    pub(super) fn insert(&mut self, entries: &[(K, V)]) -> Result<(), BpfError> {
        let result = match entries {
            [(key, value)] => sys::update(self.fd(), key, value),
            [] => Ok(()),
            many => {
                let (keys, values): (Vec<K>, Vec<V>) = many.iter().copied().unzip();
                match sys::update_batch(self.fd(), &keys, &values) {
                    Err(e) if no_batch(&e) => many.iter().try_for_each(|(k, v)| sys::update(self.fd(), k, v)),
                    result => result,
                }
            }
        };
        result.map_err(self.error("write to"))
    }

    /// Removes entries, in order; those that are not there are passed over.
    pub(super) fn remove(&mut self, keys: &[K]) -> Result<(), BpfError> {
        let mut left = keys;
        while let [first, ..] = left {
            let (done, result) = if left.len() == 1 {
                (0, sys::delete(self.fd(), first))
            } else {
                sys::delete_batch(self.fd(), left)
            };
            left = match result {
                Ok(()) => return Ok(()),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => &left[(done + 1).min(left.len())..],
                Err(e) if left.len() > 1 && no_batch(&e) => return self.remove_each(left),
                Err(e) => return Err(self.error("remove from")(e)),
            };
        }
        Ok(())
    }

    fn remove_each(&mut self, keys: &[K]) -> Result<(), BpfError> {
        keys.iter().try_for_each(|key| self.remove(std::slice::from_ref(key)))
    }

    /// Everything in it. Nobody else writes to it meanwhile, or entries may be told twice.
    pub(super) fn entries(&self) -> Result<Vec<(K, V)>, BpfError> {
        let result = match self.entries_in_batches() {
            Err(e) if no_batch(&e) => self.entries_one_by_one(),
            result => result,
        };
        result.map_err(self.error("read"))
    }

    /// The entries after a cursor (from the start, without one), at most [`ROOM`] of them; moves the cursor, and takes it away
    /// behind the last one. On a kernel without batches all of them are told at once.
    pub(super) fn some_entries(&self, cursor: &mut Option<sys::Cursor>) -> Result<Vec<(K, V)>, BpfError> {
        let (mut keys, mut values) = (vec![K::default(); ROOM], vec![V::default(); ROOM]);
        match sys::lookup_batch(self.fd(), cursor, &mut keys, &mut values) {
            Ok((count, last)) => {
                if last {
                    *cursor = None;
                }
                Ok(keys.into_iter().zip(values).take(count).collect())
            }
            Err(e) if no_batch(&e) => {
                *cursor = None;
                self.entries_one_by_one().map_err(self.error("read"))
            }
            Err(e) => {
                *cursor = None;
                Err(self.error("read")(e))
            }
        }
    }

    /// One entry; none if there is none.
    pub(super) fn get(&self, key: &K) -> Result<Option<V>, BpfError> {
        match sys::lookup(self.fd(), key) {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(self.error("read")(e)),
        }
    }

    fn entries_in_batches(&self) -> io::Result<Vec<(K, V)>> {
        let (mut keys, mut values) = (vec![K::default(); ROOM], vec![V::default(); ROOM]);
        let mut entries = Vec::new();
        let mut cursor = None;
        loop {
            let (count, last) = sys::lookup_batch(self.fd(), &mut cursor, &mut keys, &mut values)?;
            entries.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
            if last {
                return Ok(entries);
            }
        }
    }

    fn entries_one_by_one(&self) -> io::Result<Vec<(K, V)>> {
        let mut entries = Vec::new();
        let mut key = sys::next_key(self.fd(), None)?;
        while let Some(this) = key {
            entries.push((this, sys::lookup(self.fd(), &this)?));
            key = sys::next_key(self.fd(), Some(&this))?;
        }
        Ok(entries)
    }

    /// An entry that we would never have written.
    pub(super) fn foreign(&self, entry: impl std::fmt::Debug) -> BpfError {
        BpfError::Foreign { map: self.name, entry: format!("{entry:?}") }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        sys::fd_of(&self.map)
    }

    fn error(&self, attempt: &'static str) -> impl FnOnce(io::Error) -> BpfError + use<K, V> {
        let map = self.name;
        move |source| BpfError::Map { attempt, map, source }
    }
}

/// Whether the kernel has no batches for this kind of map (`ENOTSUPP`, 524, is the kernel's own number).
fn no_batch(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(524 | libc::EOPNOTSUPP | libc::EINVAL))
}
