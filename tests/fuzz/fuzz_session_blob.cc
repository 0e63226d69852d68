// Blobs of sessions. A random change never survives a checksum, so the input is also used as the
// description of a blob whose checksums are right: a sequence of lengths (two bytes each) followed
// by that many bytes of a record's header or payload.
#include <span>
#include <string>
#include <utility>

#include "server/sessions/blob_parser.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/server/sessions/fake_archives.h"

using fmaserver::AsText;
using fmaserver::Require;
using fmaserver::sessions::BlobParser;

namespace {

constexpr int64_t kMemoryBytes = 1 << 16;

const fmaserver::sessions::SessionModel& Model() {
  static const fmaserver::sessions::SessionModel model{
      .fingerprint = std::string(32, 'f'),
      .slot_bytes = 64,
      .vocab_size = 256,
      .archives = std::make_shared<fmaserver::testing::FakeArchives>()};
  return model;
}

void Parse(std::string_view blob, size_t piece_bytes) {
  int64_t reserved = 0;
  BlobParser parser(Model(), "tenant", [&reserved](int64_t bytes) {
    Require(reserved == 0 && bytes >= 0);
    if (bytes > kMemoryBytes) return absl::ResourceExhaustedError("too large");
    reserved = bytes;
    return absl::OkStatus();
  });
  for (size_t at = 0; at < blob.size(); at += piece_bytes) {
    if (!parser.Write(blob.substr(at, piece_bytes)).ok()) break;
  }
  const auto contents = parser.Finish();
  if (!contents.ok()) return;
  Require(contents->log_begin <= contents->head_tokens());
  Require(contents->tokens - contents->log_begin == std::ssize(contents->tail->log));
  int64_t held = 0;
  for (const auto& part : fmaserver::sessions::PartsOf(*contents)) {
    const auto bytes = part->memory.Read();
    Require(bytes.ok() && *bytes != nullptr && (*bytes)->tokens() == part->tokens);
    Require(part->tokens <= contents->tokens);
    Require(std::ssize((*bytes)->bytes()) == part->bytes);
    held += part->memory_bytes();
  }
  Require(held <= reserved);
}

/// Takes a piece of `input`, whose length is in its first two bytes.
std::string_view Take(std::string_view& input) {
  if (input.size() < 2) return std::exchange(input, {});
  const size_t size = static_cast<unsigned char>(input[0]) |
                      static_cast<size_t>(static_cast<unsigned char>(input[1])) << 8;
  const std::string_view piece = input.substr(2, size);
  input.remove_prefix(2 + piece.size());
  return piece;
}

std::string WithChecksums(std::string_view input) {
  std::string blob;
  while (!input.empty()) {
    fmaserver::internal::RecordHeader header;
    const std::string_view encoded = Take(input);
    header.ParsePartialFromArray(encoded.data(), static_cast<int>(encoded.size()));
    header.set_model(Model().fingerprint);
    const std::string_view payload = Take(input);
    const auto record =
        fmaserver::sessions::SealRecord(std::move(header), std::as_bytes(std::span(payload)));
    blob.append(record.head).append(payload).append(record.digest);
  }
  return blob;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = AsText(data, size);
  const size_t piece_bytes = size == 0 ? 1 : data[0] + 1;
  Parse(input, piece_bytes);
  Parse(WithChecksums(input), piece_bytes);
  return 0;
}
