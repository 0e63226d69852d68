#include "server/rpc/model_field.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "server/rpc/inflate.h"

namespace fmaserver::rpc {

using google::protobuf::internal::WireFormatLite;

std::string ModelField(const grpc::ByteBuffer& bytes, size_t max_bytes, int field) {
  MessageStream message(bytes);
  google::protobuf::io::CodedInputStream input(&message.stream());
  input.SetTotalBytesLimit(static_cast<int>(max_bytes));
  const uint32_t wanted = WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  std::string model;
  while (const uint32_t tag = input.ReadTag()) {
    // The last one counts, as for the parser.
    const bool read = tag == wanted ? WireFormatLite::ReadBytes(&input, &model)
                                    : WireFormatLite::SkipField(&input, tag);
    if (!read) return {};
  }
  return model;
}

}  // namespace fmaserver::rpc
