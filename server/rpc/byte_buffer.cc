#include "server/rpc/byte_buffer.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/refusal.h"
#include "base/utf8.h"
#include "server/rpc/inflate.h"

namespace fmaserver::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using Traits = grpc::SerializationTraits<google::protobuf::MessageLite>;

std::string Flatten(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  std::string flat;
  if (!bytes.Dump(&slices).ok()) return flat;
  flat.reserve(bytes.Length());
  for (const grpc::Slice& slice : slices) {
    flat.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return flat;
}

// Why `bytes` did not parse. Requests keep their text at the top level, so one walk over the
// outermost fields finds broken UTF-8.
absl::Status ExplainFailure(const std::string& bytes, const Descriptor& type) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                                            static_cast<int>(bytes.size()));
  while (const uint32_t tag = in.ReadTag()) {
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const bool is_text =
        field != nullptr && field->type() == FieldDescriptor::TYPE_STRING &&
        WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    if (!is_text) {
      if (!WireFormatLite::SkipField(&in, tag)) break;
      continue;
    }
    std::string text;
    if (!WireFormatLite::ReadBytes(&in, &text)) break;
    if (const absl::Status status = ValidateUtf8(text); !status.ok()) {
      return At(field->name(), status);
    }
  }
  return Refusal("request", Words{absl::StrCat(bytes.size(), " bytes")},
                 absl::StrCat("a message ", type.full_name()));
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, size_t max_bytes,
                          google::protobuf::Message& message) {
  const auto inflated = Inflate(bytes, max_bytes);
  if (!inflated.ok()) return inflated.status();
  grpc::ByteBuffer consumed = *inflated;  // shares the bytes; parsing empties it
  if (Traits::Deserialize(&consumed, &message).ok()) return absl::OkStatus();
  return ExplainFailure(Flatten(*inflated), *message.GetDescriptor());
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  // It fails only for messages over 2 GiB, which no answer of this service comes near.
  Traits::Serialize(message, &bytes, &own_buffer);
  return bytes;
}

}  // namespace fmaserver::rpc
