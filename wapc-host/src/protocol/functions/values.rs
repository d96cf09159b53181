//! The numbers that host functions take and return.

use crate::module::ValueType;

/// A number of a host function, as an engine passes it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "engines map all their numbers to these"
)]
pub enum Value {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
}

/// The parameters or the results of a host function: `()`, a number, or a tuple of numbers.
///
/// Numbers are `i32`, `u32`, `i64`, `u64`, `f32` and `f64`; a tuple has at most ten.
pub trait Values: sealed::Values + Send + 'static {}

impl<T: sealed::Values + Send + 'static> Values for T {}

pub(super) const MAX_VALUES: usize = 10;

#[expect(unnameable_types, reason = "nobody else implements them")]
pub(super) mod sealed {
    use super::{Value, ValueType};

    pub trait Values: Sized {
        fn types() -> Vec<ValueType>;
        fn from_values(values: &[Value]) -> Option<Self>;
        fn write(self, values: &mut [Value]);
    }

    pub trait Number: Sized {
        const TYPE: ValueType;
        fn from_value(value: Value) -> Option<Self>;
        fn into_value(self) -> Value;
    }
}

use sealed::Number;

macro_rules! number {
    ($($number:ty = $kind:ident, $from:expr, $into:expr;)*) => {$(
        impl Number for $number {
            const TYPE: ValueType = ValueType::$kind;

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::$kind(number) => Some($from(number)),
                    _ => None,
                }
            }

            fn into_value(self) -> Value {
                Value::$kind($into(self))
            }
        }

        impl sealed::Values for $number {
            fn types() -> Vec<ValueType> {
                vec![Self::TYPE]
            }

            fn from_values(values: &[Value]) -> Option<Self> {
                match values {
                    [value] => Self::from_value(*value),
                    _ => None,
                }
            }

            fn write(self, values: &mut [Value]) {
                (self,).write(values);
            }
        }
    )*};
}

number! {
    i32 = I32, i32::from, i32::from;
    u32 = I32, i32::cast_unsigned, u32::cast_signed;
    i64 = I64, i64::from, i64::from;
    u64 = I64, i64::cast_unsigned, u64::cast_signed;
    f32 = F32, f32::from, f32::from;
    f64 = F64, f64::from, f64::from;
}

impl sealed::Values for () {
    fn types() -> Vec<ValueType> {
        vec![]
    }

    fn from_values(values: &[Value]) -> Option<Self> {
        values.is_empty().then_some(())
    }

    fn write(self, _values: &mut [Value]) {}
}

macro_rules! tuple {
    ($($number:ident $value:ident),+) => {
        impl<$($number: Number),+> sealed::Values for ($($number,)+) {
            fn types() -> Vec<ValueType> {
                vec![$($number::TYPE),+]
            }

            fn from_values(values: &[Value]) -> Option<Self> {
                match values {
                    [$($value),+] => Some(($($number::from_value(*$value)?,)+)),
                    _ => None,
                }
            }

            fn write(self, values: &mut [Value]) {
                let ($($value,)+) = self;
                let numbers = [$($value.into_value()),+];
                for (place, number) in values.iter_mut().zip(numbers) {
                    *place = number;
                }
            }
        }
    };
}

tuple!(A a);
tuple!(A a, B b);
tuple!(A a, B b, C c);
tuple!(A a, B b, C c, D d);
tuple!(A a, B b, C c, D d, E e);
tuple!(A a, B b, C c, D d, E e, F f);
tuple!(A a, B b, C c, D d, E e, F f, G g);
tuple!(A a, B b, C c, D d, E e, F f, G g, H h);
tuple!(A a, B b, C c, D d, E e, F f, G g, H h, I i);
tuple!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j);
