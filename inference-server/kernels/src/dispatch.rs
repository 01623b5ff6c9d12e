//! One body, compiled once for every level.

/// Declares `fn name(level, arguments...)`, whose body the compiler turns into each level's vectors. The body must be
/// plain loops; functions that it calls must be `#[inline(always)]`. In the body, the constant `FMA` says whether the
/// level has a fused multiply-add (see [`crate::math::multiply_add`]), and `BF16` whether it rounds to bf16 (see
/// [`crate::element::Sealed::round`]).
///
/// # Panics
/// The function does where the machine does not have the level.
macro_rules! for_every_level {
    (
        $(#[$meta:meta])*
        $visibility:vis fn $name:ident<$element:ident>($($rest:tt)*) $($body:tt)*
    ) => {
        $crate::dispatch::for_every_level! {
            $(#[$meta])*
            $visibility fn $name<$element: $crate::element::Element>($($rest)*) $($body)*
        }
    };
    (
        $(#[$meta:meta])*
        $visibility:vis fn $name:ident $(<$($element:ident: $bound:path),+>)? (
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    ) => {
        $(#[$meta])*
        $visibility fn $name $(<$($element: $bound),+>)? (
            level: $crate::level::Level, $($argument: $type),*
        ) $(-> $result)? {
            #[inline(always)]
            #[allow(unused, reason = "not every body asks for every level")]
            fn plain<$($($element: $bound,)+)? const FMA: bool, const BF16: bool>(
                $($argument: $type),*
            ) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
            fn avx512_bf16 $(<$($element: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
                plain::<$($($element,)+)? true, true>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512 $(<$($element: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
                plain::<$($($element,)+)? true, false>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$($element: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
                plain::<$($($element,)+)? true, false>($($argument),*)
            }

            assert!(level.is_supported(), "this machine has no {}", level.name());
            match level {
                #[cfg(target_arch = "x86_64")]
                $crate::level::Level::Avx512Bf16 => {
                    // SAFETY: the level is supported.
                    #[allow(unsafe_code)]
                    unsafe { avx512_bf16 $(::<$($element),+>)? ($($argument),*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::level::Level::Avx512f => {
                    // SAFETY: the level is supported.
                    #[allow(unsafe_code)]
                    unsafe { avx512 $(::<$($element),+>)? ($($argument),*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::level::Level::Avx2Fma => {
                    // SAFETY: the level is supported.
                    #[allow(unsafe_code)]
                    unsafe { avx2 $(::<$($element),+>)? ($($argument),*) }
                }
                _ => plain::<$($($element,)+)? { cfg!(target_arch = "aarch64") }, false>($($argument),*),
            }
        }
    };
}

pub(crate) use for_every_level;
