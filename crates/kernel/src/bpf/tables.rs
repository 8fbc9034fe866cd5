//! Tables by which all nodes choose the same backend, as entries of a map: a table is several pages.

use std::collections::BTreeMap;

use engine::plan::{self, TABLE_PAGE, TableKey, table_pages};
use engine::services::TableSize;

use super::table::Table;
use super::{BpfError, abi};

const _: () = assert!(abi::TABLE_PAGE == TABLE_PAGE, "plans count the entries of maps");

/// The map of tables.
#[derive(Debug)]
pub(super) struct TableMap(pub(super) Table<abi::TableKey, abi::TablePage>);

impl TableMap {
    /// Writes tables.
    pub(super) fn insert(&mut self, tables: &[(TableKey, &plan::Table)]) -> Result<(), BpfError> {
        let pages = |(key, table): &(TableKey, &plan::Table)| {
            let key = *key;
            let pages = table.chunks(TABLE_PAGE).map(value).collect::<Vec<_>>();
            (0..).zip(pages).map(move |(page, value)| (page_key(key, page), value))
        };
        self.0.insert(&tables.iter().flat_map(pages).collect::<Vec<_>>())
    }

    /// Removes tables of so many places.
    pub(super) fn remove(&mut self, gone: &[(TableKey, usize)]) -> Result<(), BpfError> {
        let pages = |(key, places): &(TableKey, usize)| {
            let key = *key;
            (0..).take(table_pages(*places)).map(move |page| page_key(key, page))
        };
        self.0.remove(&gone.iter().flat_map(pages).collect::<Vec<_>>())
    }

    /// Everything in it. A table is as large as the largest whose pages are these; what is less (only a crash could leave
    /// it) is told as long as it reaches, so that removing what was told removes it all.
    pub(super) fn observe(&self) -> Result<BTreeMap<TableKey, plan::Table>, BpfError> {
        let mut entries = self.0.entries()?;
        entries.sort_unstable_by_key(|(key, _)| (key.set, key.count, key.page));
        let mut tables: BTreeMap<TableKey, Vec<u16>> = BTreeMap::new();
        for (key, value) in entries {
            let table = tables.entry(TableKey { set: key.set, count: key.count }).or_default();
            table.resize(key.page as usize * TABLE_PAGE, 0);
            table.extend(value.place);
        }
        let whole = |(key, mut table): (TableKey, Vec<u16>)| {
            table.truncate(
                TableSize::in_pages(table.len()).map_or(table.len(), |size| size.places() as usize),
            );
            (key, table.into())
        };
        Ok(tables.into_iter().map(whole).collect())
    }
}

fn page_key(TableKey { set, count }: TableKey, page: u32) -> abi::TableKey {
    abi::TableKey { set, count, page }
}

fn value(places: &[u16]) -> abi::TablePage {
    let mut value = abi::TablePage { place: [0; TABLE_PAGE] };
    value.place[..places.len()].copy_from_slice(places);
    value
}
