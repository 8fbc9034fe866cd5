//! QR codes, in letters and as pictures.

use anyhow::{Context as _, Result};
use qrcode::{Color, EcLevel, QrCode};

/// Modules of white around a code (ISO/IEC 18004).
const QUIET: usize = 4;
/// Pixels of a module in a picture.
const SCALE: usize = 6;

/// A code's modules, row by row, with the white around it: whether each is dark.
pub(super) struct Code(Vec<Vec<bool>>);

/// Encodes a text.
pub(super) fn encode(text: &str) -> Result<Code> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)
        .context("the configuration is too long for a QR code: allow less, or have one gateway")?;
    let (width, colors) = (code.width(), code.to_colors());
    let all = width + 2 * QUIET;
    let dark = |x: usize, y: usize| {
        let inside = |n: usize| n.checked_sub(QUIET).filter(|n| *n < width);
        inside(x).zip(inside(y)).is_some_and(|(x, y)| colors[y * width + x] == Color::Dark)
    };
    Ok(Code((0..all).map(|y| (0..all).map(|x| dark(x, y)).collect()).collect()))
}

/// In letters, two modules each: dark on a light ground, whatever the terminal's colours are.
pub(super) fn letters(Code(rows): &Code) -> String {
    let mut text = String::new();
    for pair in rows.chunks(2) {
        text.push_str("\x1b[30;107m");
        for (x, upper) in pair[0].iter().enumerate() {
            let lower = pair.get(1).is_some_and(|row| row[x]);
            text.push(match (upper, lower) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

/// As a picture: PNG (RFC 2083), black and white, not compressed.
pub(super) fn png(Code(rows): &Code) -> Vec<u8> {
    let side = rows.len() * SCALE;
    let mut pixels = Vec::new();
    for y in 0..side {
        pixels.push(0); // the row as it is
        let row = &rows[y / SCALE];
        pixels.extend((0..side).step_by(8).map(|from| {
            let white = |x: usize| x >= side || !row[x / SCALE];
            (0..8).fold(0u8, |byte, bit| (byte << 1) | u8::from(white(from + bit)))
        }));
    }
    let mut data = vec![0x78, 0x01];
    let blocks = pixels.chunks(0xffff);
    let last = blocks.len() - 1;
    for (n, block) in blocks.enumerate() {
        let length = u16::try_from(block.len()).expect("a block is no longer");
        data.push(u8::from(n == last));
        data.extend(length.to_le_bytes());
        data.extend((!length).to_le_bytes());
        data.extend(block);
    }
    data.extend(adler32(&pixels).to_be_bytes());
    let side = u32::try_from(side).expect("a code is small").to_be_bytes();
    let header = [&side[..], &side[..], &[1, 0, 0, 0, 0]].concat();
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, body) in [(b"IHDR", &header[..]), (b"IDAT", &data[..]), (b"IEND", &[][..])] {
        png.extend(u32::try_from(body.len()).expect("a code is small").to_be_bytes());
        let checked = [&kind[..], body].concat();
        png.extend(&checked);
        png.extend(crc32(&checked).to_be_bytes());
    }
    png
}

/// RFC 1950.
fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    (b << 16) | a
}

/// RFC 1952.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ ((crc & 1) * 0xedb8_8320))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn pictures_and_letters_have_the_same_size() {
        let code = encode("[Interface]\nPrivateKey = x\n").unwrap();
        let side = code.0.len();
        assert_eq!(letters(&code).lines().count(), side.div_ceil(2));
        let png = png(&code);
        let wide = u32::from_be_bytes(png[16..20].try_into().unwrap());
        assert_eq!(wide as usize, side * SCALE);
        assert!(encode(&"x".repeat(5000)).is_err());
    }
}
