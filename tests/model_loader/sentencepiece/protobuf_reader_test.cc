#include "model_loader/sentencepiece/protobuf_reader.h"

#include <string>

#include "gtest/gtest.h"

namespace fmaserver::model {
namespace {

using Type = ProtobufField::Type;
using std::string_literals::operator""s;

TEST(ProtobufReaderTest, ReadsEveryFieldType) {
  const std::string buffer =
      "\x08\x96\x01"s
      "\x12\x03"
      "abc"s
      "\x1D\x01\x02\x03\x04"s +
      "\x21\x01\x00\x00\x00\x00\x00\x00\x80"s;
  ProtobufReader reader(buffer);
  auto field = reader.Next();
  ASSERT_TRUE(field.has_value());
  EXPECT_TRUE(field->Is(1, Type::kVarint));
  EXPECT_EQ(field->value, 150U);
  field = reader.Next();
  ASSERT_TRUE(field.has_value());
  EXPECT_TRUE(field->Is(2, Type::kBytes));
  EXPECT_EQ(field->bytes, "abc");
  field = reader.Next();
  ASSERT_TRUE(field.has_value());
  EXPECT_TRUE(field->Is(3, Type::kFixed32));
  EXPECT_EQ(field->value, 0x04030201U);
  field = reader.Next();
  ASSERT_TRUE(field.has_value());
  EXPECT_TRUE(field->Is(4, Type::kFixed64));
  EXPECT_EQ(field->value, 0x8000000000000001U);
  EXPECT_FALSE(reader.Next().has_value());
  EXPECT_FALSE(reader.malformed());
}

TEST(ProtobufReaderTest, StopsAtWhatIsNoField) {
  for (const std::string& buffer : {
           "\x08"s,                                          // no value
           "\x08\x80"s,                                      // unfinished varint
           "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"s,  // endless varint
           "\x00\x01"s,                                      // field 0
           "\x12\x04"
           "abc"s,                                           // longer than the buffer
           "\x12\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"s,  // far longer
           "\x1D\x01\x02"s,                                  // unfinished fixed32
           "\x0B\x0C"s,                                      // a group
           "\x0E"s,                                          // no such type
       }) {
    ProtobufReader reader(buffer);
    EXPECT_FALSE(reader.Next().has_value());
    EXPECT_TRUE(reader.malformed());
    EXPECT_FALSE(reader.Next().has_value());
  }
}

}  // namespace
}  // namespace fmaserver::model
