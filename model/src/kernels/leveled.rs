//! One plain-Rust body, compiled for every level.

/// Makes `fn name(level: Level, …)` out of a generic `#[inline(always)] fn body<const FMA: bool>(…)`: the body is
/// compiled three times, with the vectors of each level. `FMA` says whether a fused multiply-add is one instruction.
macro_rules! leveled {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$doc])*
        #[allow(unsafe_code, reason = "a function compiled for a processor feature may only be called where it exists")]
        $vis fn $name(level: $crate::kernels::level::Level, $($arg: $type),*) $(-> $ret)? {
            use $crate::kernels::level::Level;
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn avx512($($arg: $type),*) $(-> $ret)? {
                $body::<true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($arg: $type),*) $(-> $ret)? {
                $body::<true>($($arg),*)
            }
            match level {
                // SAFETY: a level is only used after `Level::choose` or `Level::available` has found its features.
                #[cfg(target_arch = "x86_64")]
                Level::Amx | Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(not(target_arch = "x86_64"))]
                Level::Amx | Level::Avx512 | Level::Avx2 => $body::<false>($($arg),*),
                Level::Portable => $body::<false>($($arg),*),
            }
        }
    };
}

pub(crate) use leveled;

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub(crate) fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}
