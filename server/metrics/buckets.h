// Bucket boundaries of the histograms, and the label that stands for a context length.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fmaserver::metrics {

/// Seconds of one step or one token: a small model takes a fraction of a millisecond.
inline std::vector<double> StepSecondsBuckets() {
  return {.0001, .00025, .0005, .00075, .001, .0015, .002, .003, .005, .0075, .01, .015,
          .02,   .03,    .05,   .075,   .1,   .15,   .25,  .5,   1,    2.5,   5,   10};
}

/// Seconds of a request or a part of one: reading a prompt of a million tokens takes minutes.
inline std::vector<double> RequestSecondsBuckets() {
  return {.001, .0025, .005, .01, .025, .05, .1,  .25, .5,   1,    2.5,
          5,    10,    20,   40,  80,   160, 320, 640, 1280, 2560, 7680};
}

/// Tokens of a prompt, an output or a context: powers of four up to 16 Mi.
inline std::vector<double> TokenBuckets() {
  std::vector<double> buckets;
  for (double bound = 1; bound <= 1 << 24; bound *= 4) buckets.push_back(bound);
  return buckets;
}

/// Rows of a step: powers of two up to 4096.
inline std::vector<double> RowBuckets() {
  std::vector<double> buckets = {0};
  for (double bound = 1; bound <= 4096; bound *= 2) buckets.push_back(bound);
  return buckets;
}

/// Context lengths in tokens, few enough for a label: bucket i holds lengths below `end`.
struct ContextBucket {
  int64_t end;
  const char* label;
};
inline constexpr std::array<ContextBucket, 5> kContextBuckets = {{
    {int64_t{1} << 10, "0-1k"},
    {int64_t{1} << 14, "1k-16k"},
    {int64_t{1} << 17, "16k-128k"},
    {int64_t{1} << 20, "128k-1M"},
    {INT64_MAX, "1M+"},
}};

constexpr size_t ContextBucketOf(int64_t tokens) {
  size_t bucket = 0;
  while (bucket + 1 < kContextBuckets.size() && tokens >= kContextBuckets[bucket].end) ++bucket;
  return bucket;
}

}  // namespace fmaserver::metrics
