#include "server/http/request_head.h"
#include "tests/fuzz/fuzz_target.h"

using fmaserver::Require;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fmaserver::AsText(data, size);
  const fmaserver::http::RequestHead head = fmaserver::http::ParseRequestHead(text);
  if (head.error == 0) {
    Require(head.path.starts_with('/') && head.path.find('?') == std::string::npos);
    for (const char c : head.path) Require(c > ' ' && c < '\x7f');
  } else {
    Require(head.error == 400 || head.error == 405);
    Require(fmaserver::http::ErrorResponse(head.error).body.ends_with('\n'));
  }
  // Text with a whole head still has one when more text follows.
  if (fmaserver::http::HasWholeHead(text))
    Require(fmaserver::http::HasWholeHead(std::string(text) + "x"));
  return 0;
}
