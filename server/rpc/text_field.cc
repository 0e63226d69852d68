#include "server/rpc/text_field.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "server/rpc/inflate.h"

namespace fmaserver::rpc {

using google::protobuf::internal::WireFormatLite;

namespace {

/// Reads the message up to its end, or returns false where it is none.
bool FindText(google::protobuf::io::CodedInputStream& input, std::span<const int> path,
              std::string& text) {
  const uint32_t wanted =
      WireFormatLite::MakeTag(path[0], WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  while (const uint32_t tag = input.ReadTag()) {
    bool read = false;
    if (tag != wanted) {
      read = WireFormatLite::SkipField(&input, tag);
    } else if (path.size() == 1) {
      // The last one counts, as for the parser.
      read = WireFormatLite::ReadBytes(&input, &text);
    } else {
      const auto outer = input.ReadLengthAndPushLimit();
      read = FindText(input, path.subspan(1), text) &&
             input.CheckEntireMessageConsumedAndPopLimit(outer);
    }
    if (!read) return false;
  }
  return true;
}

}  // namespace

std::string TextField(const grpc::ByteBuffer& bytes, size_t max_bytes, std::span<const int> path) {
  MessageStream message(bytes);
  google::protobuf::io::CodedInputStream input(&message.stream());
  input.SetTotalBytesLimit(static_cast<int>(max_bytes));
  std::string text;
  return FindText(input, path, text) ? text : std::string();
}

}  // namespace fmaserver::rpc
