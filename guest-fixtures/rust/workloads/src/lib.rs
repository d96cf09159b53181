//! Ordinary code that computes: the price of interruption is measured on it.
//!
//! The operation is the name of a workload, the payload the number of its rounds, 32 bits in
//! little-endian order. The response is a checksum in the same form.

use std::{
    collections::{BTreeMap, HashMap, hash_map::DefaultHasher},
    fmt::Write,
    hash::BuildHasherDefault,
    hint::black_box,
};

#[link(wasm_import_module = "wapc")]
unsafe extern "C" {
    safe fn __guest_response(response: *const u8, length: usize);
    fn __guest_request(operation: *mut u8, payload: *mut u8);
}

#[unsafe(no_mangle)]
extern "C" fn __guest_call(operation_length: usize, payload_length: usize) -> i32 {
    let mut operation = vec![0; operation_length];
    let mut payload = vec![0; payload_length];
    // SAFETY: the buffers are as long as the host has said.
    unsafe { __guest_request(operation.as_mut_ptr(), payload.as_mut_ptr()) };
    let Some(rounds) = payload.first_chunk() else {
        return 0;
    };
    let workload = match &*operation {
        b"sort" => sort,
        b"hash-map" => hash_map,
        b"b-tree" => b_tree,
        b"format" => format,
        b"vowels" => vowels,
        b"crc-32" => crc_32,
        b"matrix" => matrix,
        b"sha-256" => sha_256,
        b"byte-sum" => byte_sum,
        _ => return 0,
    };
    let sum = workload(u32::from_le_bytes(*rounds)).to_le_bytes();
    __guest_response(sum.as_ptr(), sum.len());
    1
}

/// Pseudorandom numbers.
fn next(state: &mut u32) -> u32 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *state
}

/// Sorts 20,000 numbers.
fn sort(rounds: u32) -> u32 {
    let mut state = 1;
    (0..rounds).fold(0, |sum, _| {
        let mut numbers: Vec<u32> = (0..20_000).map(|_| next(&mut state)).collect();
        numbers.sort_unstable();
        sum ^ numbers[777]
    })
}

/// Counts 5,000 numbers of 1,000 kinds.
fn hash_map(rounds: u32) -> u32 {
    let mut state = 1;
    (0..rounds).fold(0, |sum, _| {
        let mut counts: HashMap<u32, u32, BuildHasherDefault<DefaultHasher>> = HashMap::default();
        for _ in 0..5_000 {
            *counts.entry(next(&mut state) % 1_000).or_default() += 1;
        }
        counts.values().fold(sum, |sum, count| sum ^ count)
    })
}

/// The same in a sorted map.
fn b_tree(rounds: u32) -> u32 {
    let mut state = 1;
    (0..rounds).fold(0, |sum, _| {
        let mut counts = BTreeMap::new();
        for _ in 0..5_000 {
            *counts.entry(next(&mut state) % 1_000).or_insert(0_u32) += 1;
        }
        counts
            .iter()
            .fold(sum, |sum, (kind, count)| sum ^ kind ^ count)
    })
}

/// Writes 1,000 objects of JSON.
fn format(rounds: u32) -> u32 {
    let mut text = String::new();
    (0..rounds).fold(0, |sum, round| {
        text.clear();
        for number in 0..1_000 {
            let fraction = f64::from(number) * 0.37;
            let _ = write!(text, "{{\"id\":{},\"x\":{fraction:.2}}},", round ^ number);
        }
        sum ^ text.len() as u32
    })
}

/// Counts the vowels in 55 KB of text.
fn vowels(rounds: u32) -> u32 {
    let text = "The quick brown fox jumps over the lazy dog — ünïcödé ".repeat(1_000);
    (0..rounds).fold(0, |sum, _| {
        let vowels = text.chars().filter(|char| "aeiouAEIOU".contains(*char));
        sum + vowels.count() as u32
    })
}

/// A checksum of 64 KiB, by a table.
fn crc_32(rounds: u32) -> u32 {
    let mut table = [0_u32; 256];
    for (byte, entry) in (0..).zip(&mut table) {
        *entry = (0..8).fold(byte, |crc, _| match crc & 1 {
            0 => crc >> 1,
            _ => 0xedb8_8320 ^ (crc >> 1),
        });
    }
    let bytes = bytes();
    let crc = (0..rounds).fold(!0, |crc, _| {
        bytes.iter().fold(crc, |crc: u32, byte| {
            table[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8)
        })
    });
    !crc
}

/// Multiplies matrices of 100 by 100 numbers.
fn matrix(rounds: u32) -> u32 {
    const SIZE: usize = 100;
    let one: Vec<f64> = (0..SIZE * SIZE).map(|index| index as f64).collect();
    let other = one.clone();
    let mut product = vec![0.0; SIZE * SIZE];
    for _ in 0..rounds {
        for row in 0..SIZE {
            for column in 0..SIZE {
                let mut sum = 0.0;
                for index in 0..SIZE {
                    sum += one[row * SIZE + index] * other[index * SIZE + column];
                }
                product[row * SIZE + column] = sum;
            }
        }
        black_box(&mut product);
    }
    product[5] as u32
}

/// Hashes 256 blocks, without the constants of the rounds.
fn sha_256(rounds: u32) -> u32 {
    let mut hash = [
        0x6a09_e667_u32,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    let mut words = [0_u32; 64];
    for round in 0..rounds {
        for block in 0..256 {
            for (index, word) in (0..16).zip(&mut words) {
                *word = block ^ round ^ index;
            }
            for at in 16..64 {
                let (a, b) = (words[at - 15], words[at - 2]);
                let a = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
                let b = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
                words[at] = words[at - 16]
                    .wrapping_add(a)
                    .wrapping_add(words[at - 7])
                    .wrapping_add(b);
            }
            let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = hash;
            for (index, word) in (0_u32..).zip(&words) {
                let one = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
                let choice = (e & f) ^ (!e & g);
                let first = h
                    .wrapping_add(one)
                    .wrapping_add(choice)
                    .wrapping_add(0x428a_2f98 ^ index)
                    .wrapping_add(*word);
                let zero = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
                let majority = (a & b) ^ (a & c) ^ (b & c);
                let second = zero.wrapping_add(majority);
                (h, g, f, e) = (g, f, e, d.wrapping_add(first));
                (d, c, b, a) = (c, b, a, first.wrapping_add(second));
            }
            for (sum, word) in hash.iter_mut().zip([a, b, c, d, e, f, g, h]) {
                *sum = sum.wrapping_add(word);
            }
        }
    }
    hash[0]
}

/// Adds up 64 KiB.
fn byte_sum(rounds: u32) -> u32 {
    let bytes = bytes();
    let mut sum = 0_u32;
    for _ in 0..rounds {
        let mut at = 0;
        while at < bytes.len() {
            sum = sum.wrapping_add(black_box(u32::from(bytes[at])));
            at += 1;
        }
    }
    sum
}

fn bytes() -> Vec<u8> {
    (0..65_536_u32).map(|number| (number * 7) as u8).collect()
}
