// Writes standard input to standard output in upper case.
import { fd_read, fd_write } from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";

// A buffer of 1,024 bytes behind its descriptor and the number of bytes.
const place = memory.data(16 + 1024);
const bytes = place + 16;

while (true) {
  store<usize>(place, bytes);
  store<usize>(place, 1024, sizeof<usize>());
  if (fd_read(0, place, 1, place + 8) != 0 || load<u32>(place, 8) == 0) break;
  const length = load<u32>(place, 8);
  for (let i: u32 = 0; i < length; i++) {
    const byte = load<u8>(bytes + i);
    if (byte >= 97 && byte <= 122) store<u8>(bytes + i, byte - 32);
  }
  store<usize>(place, length, sizeof<usize>());
  fd_write(1, place, 1, place + 8);
}
