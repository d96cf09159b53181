use wapc_typed::service;

#[service]
trait Store {
    fn get(
        &self,
        one: &wapc_typed::CallContext,
        key: String,
        other: &wapc_typed::CallContext,
    ) -> Result<u32, String>;
}

fn main() {}
