// A job in chunks, shared by the caller and helper threads.
#pragma once

typedef void (*chunk_function)(const void *job, long chunk);

// Calls function(job, chunk) for every chunk in 0..chunks-1, on at most `threads` threads, and returns when all are done.
void share(chunk_function function, const void *job, long chunks, int threads);
