//! The cost of a call in the core, without an engine.
//!
//! The engine here is a function that fetches the request and responds with it, so that
//! only the host's own work is measured.
//!
//! ```console
//! $ cargo bench --bench core
//! ```

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wapc_host::{
    BoxError, HostCall, HostCallback, ModuleState, WapcHost, WebAssemblyEngineProvider,
    engine::{GuestInstance, GuestReturn},
    error::EngineError,
};

/// A guest that echoes, with a host call for the operation `ask`.
struct Guest {
    state: ModuleState,
    memory: Vec<u8>,
}

impl GuestInstance for Guest {
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        self.echo(op_length, msg_length).into()
    }

    fn state(&mut self) -> &mut ModuleState {
        &mut self.state
    }
}

impl Guest {
    fn echo(&mut self, op_length: i32, msg_length: i32) -> Result<i32, EngineError> {
        let Self { state, memory } = self;
        state.guest_request(memory, 0, op_length)?;
        if memory.starts_with(b"ask") {
            state.host_call(memory, 0, 3, 0, 3, 0, 3, op_length, msg_length)?;
            let length = state.host_response_len()?;
            state.host_response(memory, op_length)?;
            state.guest_response(memory, op_length, length)?;
        } else {
            state.guest_response(memory, op_length, msg_length)?;
        }
        Ok(1)
    }
}

struct Provider;

impl WebAssemblyEngineProvider for Provider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        Ok(Box::new(Guest {
            state,
            memory: vec![0; 2 << 20],
        }))
    }

    fn replace(&self, _: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(Box::new(Self))
    }
}

struct Echo;

impl HostCallback for Echo {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        response.extend_from_slice(call.payload);
        Ok(())
    }
}

fn host() -> WapcHost {
    WapcHost::with_callback(Box::new(Provider), Echo).expect("the guest starts")
}

fn forms_of_call(criterion: &mut Criterion) {
    let host = host();
    let mut group = criterion.benchmark_group("echo");
    for bytes in [0, 64, 1 << 10, 64 << 10, 1 << 20] {
        let payload = vec![7; bytes];
        let payload = payload.as_slice();
        let mut buffer = vec![];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("call", bytes), |bencher| {
            bencher.iter(|| host.call("echo", black_box(payload)));
        });
        group.bench_function(BenchmarkId::new("call_into", bytes), |bencher| {
            bencher.iter(|| host.call_into("echo", black_box(payload), &mut buffer));
        });
        group.bench_function(BenchmarkId::new("call_with", bytes), |bencher| {
            bencher.iter(|| host.call_with("echo", black_box(payload), <[u8]>::len));
        });
        let mut held = host.check_out().expect("the instance");
        group.bench_function(BenchmarkId::new("held", bytes), |bencher| {
            bencher.iter(|| held.call_into("echo", black_box(payload), &mut buffer));
        });
    }
    group.finish();
}

fn host_call(criterion: &mut Criterion) {
    let by_type = host();
    let by_closure = WapcHost::new(Box::new(Provider), |_, _, _, _, payload| {
        Ok(payload.to_vec())
    })
    .expect("the guest starts");
    let mut buffer = vec![];
    let mut group = criterion.benchmark_group("host_call");
    for (name, host) in [("type", by_type), ("closure", by_closure)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| host.call_into("ask", black_box(&[7; 64]), &mut buffer));
        });
    }
    group.finish();
}

fn swap(criterion: &mut Criterion) {
    let host = host();
    criterion.bench_function("replace_module", |bencher| {
        bencher.iter(|| host.replace_module(b""));
    });
}

criterion_group!(core, forms_of_call, host_call, swap);
criterion_main!(core);
