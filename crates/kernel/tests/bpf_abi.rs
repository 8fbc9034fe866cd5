//! The compiled programs and the Rust half of `bpf/abi.h` mean the same, both ways: by the types in the objects (BTF).

use std::collections::BTreeMap;

use causeway_kernel::bpf::abi::{LAYOUTS, Reason};
use causeway_kernel::bpf::{EDGE, GUARD, HOST, NEAR, OUTLIERS, POD, POLICY, SEGMENT, SOCK, Source};

/// Size, and offsets of fields by name.
type Shape = (usize, BTreeMap<String, usize>);

/// The part of an object's BTF that matters here.
#[derive(Default)]
struct Types {
    structs: BTreeMap<String, Shape>,
    reasons: BTreeMap<String, u32>,
}

#[test]
fn every_struct_means_the_same() {
    let types = all();
    let ours: BTreeMap<String, Shape> = LAYOUTS
        .iter()
        .map(|l| (l.name.to_owned(), (l.size, l.fields.iter().map(|(n, o)| ((*n).to_owned(), *o)).collect())))
        .collect();
    let theirs: BTreeMap<String, Shape> =
        types.structs.into_iter().filter(|(name, _)| name.starts_with("cw_")).collect();
    assert_eq!(ours, theirs, "abi.rs (left) and the objects (right) differ: run ./x generate");
}

#[test]
fn every_reason_means_the_same() {
    let ours: BTreeMap<String, u32> = Reason::ALL.iter().map(|r| (r.name().to_owned(), *r as u32)).collect();
    let mut theirs = all().reasons;
    assert_eq!(theirs.remove("reasons"), u32::try_from(ours.len()).ok());
    assert_eq!(ours, theirs, "abi.rs (left) and the objects (right) differ: run ./x generate");
    assert!(
        Reason::ALL.iter().enumerate().all(|(place, r)| *r as usize == place),
        "counters are found by place"
    );
}

/// Types of one name in several objects must be one type.
fn all() -> Types {
    let mut all = Types::default();
    for source in [SOCK, OUTLIERS, GUARD, POD, EDGE, POLICY, HOST, NEAR, SEGMENT] {
        let types = read(source);
        for (name, shape) in types.structs.into_iter().filter(|(name, _)| name.starts_with("cw_")) {
            let before = all.structs.insert(name.clone(), shape.clone());
            assert!(before.is_none_or(|b| b == shape), "{name} differs in {}", source.name);
        }
        all.reasons.extend(types.reasons);
    }
    all
}

/// Reads the BTF section of an object: https://docs.kernel.org/bpf/btf.html
fn read(source: Source) -> Types {
    let btf = section(source.elf, ".BTF");
    let word = |at: usize| u32::from_ne_bytes(btf[at..at + 4].try_into().unwrap());
    let header = word(4) as usize;
    let (types, types_end) = (header + word(8) as usize, header + (word(8) + word(12)) as usize);
    let strings = header + word(16) as usize;
    let name = |offset: u32| {
        let bytes = &btf[strings + offset as usize..];
        String::from_utf8_lossy(&bytes[..bytes.iter().position(|b| *b == 0).unwrap()]).into_owned()
    };
    let mut found = Types::default();
    let mut at = types;
    while at < types_end {
        let (own_name, info, size) = (name(word(at)), word(at + 4), word(at + 8));
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let members = at + 12;
        at = members
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * count,
                6 | 13 => 8 * count,
                2 | 7..=12 | 16 | 18 => 0,
                other => panic!("BTF of {} has a type of kind {other}", source.name),
            };
        if kind == 4 {
            let field =
                |i| (name(word(members + 12 * i)), (word(members + 12 * i + 8) & 0x00ff_ffff) as usize / 8);
            found.structs.insert(own_name, (size as usize, (0..count).map(field).collect()));
        } else if kind == 6 && own_name == "cw_reason" {
            let value = |i| (name(word(members + 8 * i)), word(members + 8 * i + 4));
            let prefixless =
                |(name, number): (String, u32)| (name.strip_prefix("CW_").unwrap().to_lowercase(), number);
            found.reasons.extend((0..count).map(value).map(prefixless));
        }
    }
    found
}

/// A section of a 64-bit ELF file of this machine's byte order.
fn section<'a>(elf: &'a [u8], wanted: &str) -> &'a [u8] {
    let number = |at: usize, bytes: usize| {
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(&elf[at..at + bytes]);
        if cfg!(target_endian = "little") {
            u64::from_le_bytes(word) as usize
        } else {
            panic!("little-endian only")
        }
    };
    let (table, entry, count, names) = (number(40, 8), number(58, 2), number(60, 2), number(62, 2));
    let place = |i: usize| (number(table + i * entry + 24, 8), number(table + i * entry + 32, 8));
    let strings = place(names).0;
    let is_wanted = |i: &usize| {
        let name = strings + number(table + i * entry, 4);
        elf[name..].starts_with(wanted.as_bytes()) && elf[name + wanted.len()] == 0
    };
    let (start, length) = place((0..count).find(is_wanted).unwrap_or_else(|| panic!("no section {wanted}")));
    &elf[start..start + length]
}
