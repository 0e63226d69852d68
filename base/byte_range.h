// A part of a text.
#pragma once

#include <cstddef>

namespace fmaserver {

/// Bytes [begin, end).
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
};

}  // namespace fmaserver
