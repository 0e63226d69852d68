#include "base/utf8.h"
#include "tests/fuzz/fuzz_target.h"

using fmaserver::Require;

// The first byte is the length of the parts into which the rest is cut.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t part = 1 + data[0] % 7;
  const std::string_view text = fmaserver::AsText(data + 1, size - 1);
  const std::string whole = fmaserver::ReplaceInvalidUtf8(text);
  Require(fmaserver::ValidateUtf8(whole).ok());
  Require(fmaserver::ValidateUtf8(text).ok() == (whole == text));

  fmaserver::Utf8Stream stream;
  std::string joined;
  for (size_t offset = 0; offset < text.size(); offset += part) {
    joined += stream.Push(text.substr(offset, part));
  }
  joined += stream.Finish();
  Require(joined == whole);
  return 0;
}
