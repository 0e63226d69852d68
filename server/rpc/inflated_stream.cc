#include "server/rpc/inflated_stream.h"

#include <algorithm>
#include <utility>

namespace fmaserver::rpc {

InflatedStream::InflatedStream(ZeroCopyInputStream& source) : source_(source) {
  constexpr int kFindOut = 32;  // by the first bytes, which of the two it is
  inflateInit2(&zlib_, MAX_WBITS + kFindOut);
}

bool InflatedStream::Next(const void** data, int* size) {
  if (kept_ == 0) {
    size_ = kept_ = Fill();
    total_ += size_;
  }
  *data = block_.data() + (size_ - kept_);
  *size = std::exchange(kept_, 0);
  return *size > 0;
}

int InflatedStream::Fill() {
  zlib_.next_out = block_.data();
  zlib_.avail_out = static_cast<uInt>(block_.size());
  while (!ended_ && zlib_.avail_out == block_.size()) {
    if (zlib_.avail_in == 0) {
      const void* data = nullptr;
      int size = 0;
      if (!source_.Next(&data, &size)) return 0;
      zlib_.next_in = static_cast<Bytef*>(const_cast<void*>(data));  // zlib only reads it
      zlib_.avail_in = static_cast<uInt>(size);
    }
    const int result = inflate(&zlib_, Z_NO_FLUSH);
    ended_ = result == Z_STREAM_END;
    if (!ended_ && result != Z_OK && result != Z_BUF_ERROR) return 0;
  }
  return static_cast<int>(block_.size() - zlib_.avail_out);
}

bool InflatedStream::Skip(int count) {
  const void* data = nullptr;
  for (int size = 0; count > 0; count -= size) {
    if (!Next(&data, &size)) return false;
    if (size > count) BackUp(size - count);
    size = std::min(size, count);
  }
  return true;
}

}  // namespace fmaserver::rpc
