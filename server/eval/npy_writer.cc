#include "server/eval/npy_writer.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace fmaserver::eval {
namespace {

/// Format version 1.0: magic, header length, a Python dict, padded so that the data is aligned to
/// 64 bytes.
std::string Header(const std::vector<int64_t>& shape) {
  std::string dict = absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (",
                                  absl::StrJoin(shape, ","), ",), }");
  constexpr size_t kPrefix = 10;
  constexpr size_t kAlignment = 64;
  while ((kPrefix + dict.size() + 1) % kAlignment != 0) dict.push_back(' ');
  dict.push_back('\n');
  std::string header("\x93NUMPY\x01\x00", 8);
  header.push_back(static_cast<char>(dict.size() & 0xFF));
  header.push_back(static_cast<char>(dict.size() >> 8));
  return header + dict;
}

}  // namespace

absl::StatusOr<NpyWriter> NpyWriter::Create(const std::filesystem::path& file,
                                            const std::vector<int64_t>& shape) {
  std::ofstream stream(file, std::ios::binary);
  if (!stream) {
    return absl::UnavailableError(
        absl::StrCat("cannot write ", file.string(), ": ", std::strerror(errno)));
  }
  const std::string header = Header(shape);
  stream.write(header.data(), static_cast<std::streamsize>(header.size()));
  return NpyWriter(file, std::move(stream));
}

void NpyWriter::Append(std::span<const float> values) {
  stream_.write(reinterpret_cast<const char*>(values.data()),
                static_cast<std::streamsize>(values.size_bytes()));
}

absl::Status NpyWriter::Close() {
  stream_.close();
  if (stream_.fail()) {
    return absl::DataLossError(
        absl::StrCat("writing ", path_.string(), " failed; is the disk full?"));
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::eval
