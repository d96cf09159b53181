//! Whether a guest has what a client calls.

use std::{collections::HashSet, ptr};

use thiserror::Error;

use crate::{
    descriptor::{Descriptor, DescriptorError, Operation},
    schema::{Field, References, Type},
};

/// The reason why a guest does not fit a client.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The guest's descriptor cannot be read.
    #[error("the guest's descriptor cannot be read")]
    Descriptor(#[from] DescriptorError),

    /// The guest says nothing of its operations.
    #[error(
        "the guest has no descriptor, so it cannot be checked; `wapc_typed::export!` writes one"
    )]
    NoDescriptor,

    /// The guest does not have an operation.
    #[error("the guest does not have the operation `{operation}`")]
    MissingOperation {
        /// The operation.
        operation: String,
    },

    /// An operation of the guest has other types.
    #[error("the guest's operation `{operation}` does not fit: {place}: {reason}")]
    Unfit {
        /// The operation.
        operation: String,
        /// The argument or the result, and the field in it.
        place: String,
        /// The difference.
        reason: String,
    },
}

/// The way to a part of a type, and the difference there.
type Difference = (String, String);

impl Descriptor {
    /// Checks that a guest of this descriptor has each operation of another descriptor, with types
    /// that fit.
    ///
    /// Operations, fields and forms may be added to the guest, where the caller's values still can be
    /// decoded, and the other way round. A number fits a larger one. What has only a name fits
    /// anything.
    ///
    /// # Errors
    ///
    /// [`CheckError`] with the first operation that is missing or does not fit.
    pub fn check(&self, called: &Self) -> Result<(), CheckError> {
        if self.operations.is_empty() && !called.operations.is_empty() {
            return Err(CheckError::NoDescriptor);
        }
        for wanted in &called.operations {
            let Some(offered) = self.operation(&wanted.name) else {
                let operation = wanted.name.clone();
                return Err(CheckError::MissingOperation { operation });
            };
            wanted
                .fits(offered)
                .map_err(|(place, reason)| CheckError::Unfit {
                    operation: wanted.name.clone(),
                    place,
                    reason,
                })?;
        }
        Ok(())
    }
}

/// Checks a module against the text of a client's own descriptor.
pub(crate) fn check(own: &str, module: &[u8]) -> Result<(), CheckError> {
    let own = Descriptor::parse(own.as_bytes())?;
    Descriptor::read(module)?.check(&own)
}

impl Operation {
    fn fits(&self, offered: &Self) -> Result<(), Difference> {
        let whole = |place: &str, reason: String| Err((place.to_owned(), reason));
        if self.codec != offered.codec {
            let reason = format!(
                "the caller uses {}, the guest {}",
                self.codec, offered.codec
            );
            return whole("the encoding", reason);
        }
        if self.is_unary != offered.is_unary {
            let reason = match self.is_unary {
                true => "the caller sends the argument itself, the guest expects a map",
                false => "the caller sends a map, the guest expects the argument itself",
            };
            return whole("the arguments", reason.to_owned());
        }
        let by_name = self.codec != "postcard";
        let sent = self.arguments.iter();
        let expected = offered.arguments.iter();
        if self.is_unary || !by_name {
            if self.arguments.len() != offered.arguments.len() {
                return whole("the arguments", counts(&self.arguments, &offered.arguments));
            }
            for (sent, expected) in sent.zip(expected) {
                fits(&sent.ty, &expected.ty, by_name)
                    .map_err(at(&format!("argument `{}`", sent.name)))?;
            }
        } else {
            for expected in expected {
                let place = format!("argument `{}`", expected.name);
                match self.arguments.iter().find(|it| it.name == expected.name) {
                    Some(sent) => fits(&sent.ty, &expected.ty, true).map_err(at(&place))?,
                    None if matches!(expected.ty, Type::Option(_)) => {}
                    None => {
                        return whole(
                            &place,
                            "the guest needs it, the caller does not send it".to_owned(),
                        );
                    }
                }
            }
        }
        fits(&offered.result, &self.result, by_name).map_err(at("the result"))
    }
}

/// Puts a place in front of the way to a difference.
fn at(place: &str) -> impl FnOnce(Difference) -> Difference {
    move |(rest, reason)| (format!("{place}{rest}"), reason)
}

fn counts<A, B>(sent: &[A], expected: &[B]) -> String {
    format!("{} are sent, {} expected", sent.len(), expected.len())
}

/// Checks that each value of a type that is sent can be decoded as another type. Without names,
/// fields and forms are known by their place alone.
fn fits(sent: &Type, expected: &Type, by_name: bool) -> Result<(), Difference> {
    let mut comparison = Comparison {
        sent: References::new(sent),
        expected: References::new(expected),
        seen: HashSet::new(),
        pending: Vec::new(),
    };
    comparison.fits(sent, expected, by_name)?;
    while let Some((sent, expected, by_name)) = comparison.pending.pop() {
        let place = format!(", in `{}`", name(sent));
        comparison
            .fits(sent, expected, by_name)
            .map_err(at(&place))?;
    }
    Ok(())
}

/// The name of a type that is referred to.
fn name(ty: &Type) -> &str {
    match ty {
        Type::Record(it) => &it.name,
        Type::Enum(it) => &it.name,
        _ => "",
    }
}

struct Comparison<'t> {
    sent: References<'t>,
    expected: References<'t>,
    /// Pairs of types, one of which was referred to, that are compared once.
    seen: HashSet<(*const Type, *const Type)>,
    /// Those that are not compared yet: not at once, so that the depth is that of the types as they are
    /// written.
    pending: Vec<(&'t Type, &'t Type, bool)>,
}

impl<'t> Comparison<'t> {
    fn fits(
        &mut self,
        sent: &'t Type,
        expected: &'t Type,
        by_name: bool,
    ) -> Result<(), Difference> {
        if matches!((sent, expected), (Type::Ref(_), _) | (_, Type::Ref(_))) {
            if let Some(sent) = self.sent.resolve(sent)
                && let Some(expected) = self.expected.resolve(expected)
                && self
                    .seen
                    .insert((ptr::from_ref(sent), ptr::from_ref(expected)))
            {
                self.pending.push((sent, expected, by_name));
            }
            return Ok(());
        }
        match (sent, expected) {
            // Text and bytes are the same then.
            (Type::Raw(_), Type::Raw(_)) => Ok(()),
            (Type::Json(sent), Type::Json(expected)) => self.fits(sent, expected, true),
            (Type::Raw(_) | Type::Json(_), _) | (_, Type::Raw(_) | Type::Json(_)) => Err((
                String::new(),
                format!("`{sent}` is sent, `{expected}` expected"),
            )),
            (Type::Other(_), _) | (_, Type::Other(_)) => Ok(()),
            (Type::Option(sent), Type::Option(expected)) => self.fits(sent, expected, by_name),
            (sent, Type::Option(expected)) if by_name => match sent {
                Type::Unit => Ok(()),
                sent => self.fits(sent, expected, true),
            },
            (Type::List(sent), Type::List(expected)) => {
                self.fits(sent, expected, by_name).map_err(at("[]"))
            }
            (Type::Map(sent), Type::Map(expected)) => {
                self.fits(&sent.0, &expected.0, by_name)
                    .map_err(at(", the keys"))?;
                self.fits(&sent.1, &expected.1, by_name)
                    .map_err(at(", the values"))
            }
            (Type::Tuple(sent), Type::Tuple(expected)) => {
                if sent.len() != expected.len() {
                    return Err((String::new(), counts(sent, expected)));
                }
                let mut pairs = sent.iter().zip(expected).enumerate();
                pairs.try_for_each(|(number, (sent, expected))| {
                    self.fits(sent, expected, by_name)
                        .map_err(at(&format!(".{number}")))
                })
            }
            (Type::Record(sent), Type::Record(expected)) if by_name => {
                expected.fields.iter().try_for_each(|field| {
                    let place = format!(".{}", field.name);
                    match sent.fields.iter().find(|it| it.name == field.name) {
                        Some(sent) => self.fits(&sent.ty, &field.ty, true).map_err(at(&place)),
                        None if field.is_optional() => Ok(()),
                        None => Err((place, "it is expected, and is not sent".to_owned())),
                    }
                })
            }
            (Type::Record(sent), Type::Record(expected)) => {
                self.fields_fit(&sent.fields, &expected.fields)
            }
            (Type::Enum(sent), Type::Enum(expected)) => {
                for (number, variant) in sent.variants.iter().enumerate() {
                    let place = format!("::{}", variant.name);
                    let same = match by_name {
                        true => expected.variants.iter().find(|it| it.name == variant.name),
                        false => expected.variants.get(number),
                    };
                    match (same.map(|it| &it.ty), &variant.ty) {
                        (None, _) => {
                            return Err((place, "it may be sent, and is not known".to_owned()));
                        }
                        (Some(None), None) => {}
                        (Some(Some(expected)), Some(sent)) => {
                            self.fits(sent, expected, by_name).map_err(at(&place))?;
                        }
                        (Some(_), _) => {
                            return Err((place, "one side has contents in it".to_owned()));
                        }
                    }
                }
                Ok(())
            }
            (sent, expected) if sent == expected => Ok(()),
            (sent, expected) => match (number(sent), number(expected)) {
                (Some((from, to)), Some((least, most)))
                    if by_name && least <= from && to <= most =>
                {
                    Ok(())
                }
                _ => Err((
                    String::new(),
                    format!("`{sent}` is sent, `{expected}` expected"),
                )),
            },
        }
    }

    fn fields_fit(&mut self, sent: &'t [Field], expected: &'t [Field]) -> Result<(), Difference> {
        if sent.len() != expected.len() {
            return Err((String::new(), counts(sent, expected)));
        }
        let mut pairs = sent.iter().zip(expected);
        pairs.try_for_each(|(sent, expected)| {
            self.fits(&sent.ty, &expected.ty, false)
                .map_err(at(&format!(".{}", sent.name)))
        })
    }
}

/// The values that a type of numbers has. Whole numbers are decoded as fractions too.
fn number(ty: &Type) -> Option<(i128, i128)> {
    const ALL: i128 = 1 << 100;
    Some(match ty {
        Type::U8 => (0, u8::MAX.into()),
        Type::U16 => (0, u16::MAX.into()),
        Type::U32 => (0, u32::MAX.into()),
        Type::U64 => (0, u64::MAX.into()),
        Type::I8 => (i8::MIN.into(), i8::MAX.into()),
        Type::I16 => (i16::MIN.into(), i16::MAX.into()),
        Type::I32 => (i32::MIN.into(), i32::MAX.into()),
        Type::I64 => (i64::MIN.into(), i64::MAX.into()),
        Type::F32 => (-ALL, ALL),
        Type::F64 => (-ALL - 1, ALL + 1),
        _ => return None,
    })
}
