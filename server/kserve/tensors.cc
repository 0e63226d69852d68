#include "server/kserve/tensors.h"

#include <cstdint>

#include "absl/strings/str_join.h"
#include "base/refusal.h"

namespace fmaserver::kserve {
namespace {

constexpr size_t kLengthBytes = 4;

absl::Status CheckTensor(const InputTensor& tensor, std::string_view datatype) {
  if (tensor.datatype() != datatype) {
    return Refusal(At(tensor.name(), "datatype"), tensor.datatype(), datatype);
  }
  const auto& shape = tensor.shape();
  const bool few = shape.size() <= 2;
  if (few && !shape.empty() && shape[0] == 1 && *shape.rbegin() == 1) return absl::OkStatus();
  const std::string found = few ? Concat("[", absl::StrJoin(shape, ", "), "]")
                                : Concat("of ", shape.size(), " dimensions");
  return Refusal(At(tensor.name(), "shape"), Words{found}, "[1], [1, 1]");
}

absl::Status WrongContents(const InputTensor& tensor, std::string_view found) {
  return Refusal(At(tensor.name(), "contents"), Words{std::string(found)},
                 Concat("one element of ", tensor.datatype()));
}

}  // namespace

absl::StatusOr<std::string> ReadText(const InputTensor& tensor, const std::string* raw) {
  if (absl::Status status = CheckTensor(tensor, kBytes); !status.ok()) return status;
  if (raw == nullptr) {
    if (tensor.contents().bytes_contents_size() == 1) return tensor.contents().bytes_contents(0);
    return WrongContents(tensor, Concat(tensor.contents().bytes_contents_size(), " elements"));
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes && i < raw->size(); ++i) {
    length |= uint64_t{static_cast<uint8_t>((*raw)[i])} << (8 * i);
  }
  if (raw->size() < kLengthBytes || raw->size() - kLengthBytes != length) {
    return WrongContents(tensor, Concat(raw->size(), " raw bytes, not 4 and the length in these"));
  }
  return raw->substr(kLengthBytes);
}

absl::StatusOr<bool> ReadBool(const InputTensor& tensor, const std::string* raw) {
  if (absl::Status status = CheckTensor(tensor, kBool); !status.ok()) return status;
  if (raw == nullptr) {
    if (tensor.contents().bool_contents_size() == 1) return tensor.contents().bool_contents(0);
    return WrongContents(tensor, Concat(tensor.contents().bool_contents_size(), " elements"));
  }
  if (raw->size() == 1) return (*raw)[0] != 0;
  return WrongContents(tensor, Concat(raw->size(), " raw bytes"));
}

void AddText(const std::string& name, const std::string& text, bool raw,
             inference::ModelInferResponse& response) {
  auto& output = *response.add_outputs();
  output.set_name(name);
  output.set_datatype(std::string(kBytes));
  output.add_shape(1);
  if (!raw) {
    output.mutable_contents()->add_bytes_contents(text);
    return;
  }
  std::string& bytes = *response.add_raw_output_contents();
  for (size_t i = 0; i < kLengthBytes; ++i) {
    bytes += static_cast<char>(text.size() >> (8 * i) & 0xff);
  }
  bytes += text;
}

}  // namespace fmaserver::kserve
