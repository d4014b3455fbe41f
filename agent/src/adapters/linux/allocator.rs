//! Tells glibc's allocator to stay small: measured, an idle daemon keeps several MiB that a list of
//! objects needed for a moment, unless it is asked to give them back.

#![allow(unsafe_code, reason = "calls into glibc that take and return numbers and no pointers")]

/// Most arenas; each thread that allocates at the same time may otherwise open one of its own.
const ARENAS: libc::c_int = 2;

/// Limits the arenas. To be called before the first thread starts.
pub fn limit_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two integers and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Gives memory that is free inside the allocator back to the kernel. Takes the allocator's locks
/// for some milliseconds, so not on a thread that others wait for.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes one integer and touches only the allocator's own memory.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes that the allocator holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapUsage {
    /// Handed out, those mapped apart not among them.
    pub in_use: usize,
    /// Held and not handed out.
    pub free: usize,
    /// Handed out in mappings of their own, which big blocks get.
    pub mapped: usize,
}

/// What the allocator holds; `None` where it does not tell.
pub fn usage() -> Option<HeapUsage> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallinfo2 takes nothing, returns numbers, and may be called at any time.
        let counts = unsafe { libc::mallinfo2() };
        Some(HeapUsage { in_use: counts.uordblks, free: counts.fordblks, mapped: counts.hblkhd })
    }
    #[cfg(not(target_env = "gnu"))]
    None
}
