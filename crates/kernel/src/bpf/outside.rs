//! What clients outside of the cluster dial, as entries of maps: the frontends' own ladders, and who may dial them.

use std::collections::{BTreeMap, BTreeSet};

use engine::plan::{self, Otherwise};
use ipnet::IpNet;

use super::bytes::{net, prefix};
use super::services::{frontend, frontend_key, ladder, ladder_value};
use super::table::Table;
use super::{BpfError, abi};

/// Bits of a key before the range: those of the frontend.
const FRONTEND_BITS: u32 = 8 * size_of::<abi::Frontend>() as u32;

/// The maps of what is dialled from outside.
#[derive(Debug)]
pub(super) struct OutsideMaps {
    pub(super) entries: Table<abi::Frontend, abi::Outside>,
    pub(super) sources: Table<abi::OutsideSource, u8>,
}

impl OutsideMaps {
    /// Writes frontends. At no moment is anybody refused who may dial before and after: ranges come before who is asked
    /// for them, and go after.
    pub(super) fn set(&mut self, wanted: &[(&plan::Frontend, &plan::Outside)]) -> Result<(), BpfError> {
        let entries = wanted.iter().map(|(at, outside)| Ok((frontend_key(at), value(outside)?)));
        let entries = entries.collect::<Result<Vec<_>, BpfError>>()?;
        let ranges: BTreeSet<_> =
            wanted.iter().flat_map(|(at, outside)| source_keys(at, outside.sources.as_ref())).collect();
        let old = self.sources_of(&entries.iter().map(|(key, _)| *key).collect())?;
        self.sources.insert(&ranges.iter().map(|key| (*key, 1)).collect::<Vec<_>>())?;
        self.entries.insert(&entries)?;
        self.sources.remove(&old.into_iter().filter(|key| !ranges.contains(key)).collect::<Vec<_>>())
    }

    /// Removes frontends.
    pub(super) fn delete(&mut self, gone: &[&plan::Frontend]) -> Result<(), BpfError> {
        let keys: BTreeSet<_> = gone.iter().map(|at| frontend_key(at)).collect();
        let ranges = self.sources_of(&keys)?;
        self.entries.remove(&keys.into_iter().collect::<Vec<_>>())?;
        self.sources.remove(&ranges)
    }

    /// Everything in them.
    pub(super) fn observe(&self) -> Result<BTreeMap<plan::Frontend, plan::Outside>, BpfError> {
        let mut ranges: BTreeMap<abi::Frontend, BTreeSet<IpNet>> = BTreeMap::new();
        for (key, _) in self.sources.entries()? {
            let range = range(&key).ok_or_else(|| self.sources.foreign(key))?;
            ranges.entry(key.frontend).or_default().insert(range);
        }
        let mut read = |(key, value): (abi::Frontend, abi::Outside)| {
            let sources = (value.restricted == 1).then(|| ranges.remove(&key).unwrap_or_default());
            frontend(&key).zip(outside(&value, sources)).ok_or_else(|| self.entries.foreign((key, value)))
        };
        self.entries.entries()?.into_iter().map(&mut read).collect()
    }

    fn sources_of(&self, frontends: &BTreeSet<abi::Frontend>) -> Result<Vec<abi::OutsideSource>, BpfError> {
        let keys = self.sources.entries()?.into_iter().map(|(key, _)| key);
        Ok(keys.filter(|key| frontends.contains(&key.frontend)).collect())
    }
}

fn source_keys(at: &plan::Frontend, ranges: Option<&BTreeSet<IpNet>>) -> Vec<abi::OutsideSource> {
    let frontend = frontend_key(at);
    let key = |range: &IpNet| {
        let abi::Prefix { length, ip } = prefix(range);
        abi::OutsideSource { length: FRONTEND_BITS + length, frontend, ip }
    };
    ranges.into_iter().flatten().map(key).collect()
}

fn range(key: &abi::OutsideSource) -> Option<IpNet> {
    net(&abi::Prefix { length: key.length.checked_sub(FRONTEND_BITS)?, ip: key.ip })
}

fn value(outside: &plan::Outside) -> Result<abi::Outside, BpfError> {
    Ok(abi::Outside {
        ladder: ladder_value(&outside.ladder)?,
        masquerade: outside.masquerade.into(),
        otherwise: match outside.otherwise {
            Otherwise::Refuse => 0,
            Otherwise::Drop => 1,
        },
        restricted: outside.sources.is_some().into(),
        zero: [0; 5],
    })
}

fn outside(value: &abi::Outside, sources: Option<BTreeSet<IpNet>>) -> Option<plan::Outside> {
    Some(plan::Outside {
        ladder: ladder(&value.ladder)?,
        masquerade: value.masquerade == 1,
        otherwise: match value.otherwise {
            0 => Otherwise::Refuse,
            1 => Otherwise::Drop,
            _ => return None,
        },
        sources,
    })
}
