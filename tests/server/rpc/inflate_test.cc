// Compressed bytes as a stream, read in every way that Protobuf reads one.
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <random>
#include <string>

#include "server/rpc/inflated_stream.h"

namespace fmaserver::rpc {
namespace {

using google::protobuf::io::ArrayInputStream;

constexpr int kGzip = MAX_WBITS + 16;
constexpr int kDeflate = MAX_WBITS;

std::string Compressed(const std::string& plain, int format) {
  z_stream zlib{};
  deflateInit2(&zlib, Z_BEST_COMPRESSION, Z_DEFLATED, format, 8, Z_DEFAULT_STRATEGY);
  std::string bytes(deflateBound(&zlib, plain.size()), '\0');
  zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  zlib.avail_in = static_cast<uInt>(plain.size());
  zlib.next_out = reinterpret_cast<Bytef*>(bytes.data());
  zlib.avail_out = static_cast<uInt>(bytes.size());
  EXPECT_EQ(deflate(&zlib, Z_FINISH), Z_STREAM_END);
  bytes.resize(zlib.total_out);
  deflateEnd(&zlib);
  return bytes;
}

/// Text of words, of which some come again.
std::string RandomText(std::mt19937& random, size_t size) {
  std::string text;
  while (text.size() < size) text += std::to_string(random() % 5000) + " ";
  text.resize(size);
  return text;
}

/// What the stream gives, without what is skipped, which is left out of `plain` too.
std::string ReadAtRandom(InflatedStream& stream, std::mt19937& random, std::string& plain) {
  std::string read;
  const void* data = nullptr;
  for (int size = 0; stream.Next(&data, &size);) {
    const int kept = static_cast<int>(random() % static_cast<unsigned>(size + 1));
    stream.BackUp(size - kept);
    read.append(static_cast<const char*>(data), kept);
    EXPECT_GE(stream.ByteCount(), static_cast<int64_t>(read.size()));
    const int skipped = static_cast<int>(random() % 100);
    if (plain.size() < read.size() + skipped) continue;
    EXPECT_TRUE(stream.Skip(skipped));
    plain.erase(read.size(), skipped);
  }
  return read;
}

TEST(InflatedStreamTest, IsThePlainTextInAnyPieces) {
  std::mt19937 random(7);
  for (const int format : {kGzip, kDeflate}) {
    for (const size_t size : {0, 1, 1000, 65'536, 65'537, 300'000}) {
      std::string plain = RandomText(random, size);
      const std::string bytes = Compressed(plain, format);
      const int block = static_cast<int>(random() % 5000) + 1;
      ArrayInputStream source(bytes.data(), static_cast<int>(bytes.size()), block);
      InflatedStream stream(source);
      EXPECT_EQ(ReadAtRandom(stream, random, plain), plain);
      EXPECT_TRUE(stream.complete());
      EXPECT_EQ(stream.ByteCount(), static_cast<int64_t>(size));
      EXPECT_FALSE(stream.Skip(1));
    }
  }
}

TEST(InflatedStreamTest, KnowsWhatIsNotWhole) {
  std::mt19937 random(7);
  const std::string whole = Compressed(RandomText(random, 1000), kGzip);
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const bool cut : {true, false}) {
      std::string bytes = cut ? whole.substr(0, i) : whole;
      // Bytes 4 to 9 are a time and the like, which nobody checks.
      if (!cut && i >= 4 && i < 10) continue;
      if (!cut) bytes[i] = static_cast<char>(bytes[i] ^ 0x5a);
      ArrayInputStream source(bytes.data(), static_cast<int>(bytes.size()));
      InflatedStream stream(source);
      const void* data = nullptr;
      for (int size = 0; stream.Next(&data, &size);) continue;
      EXPECT_FALSE(stream.complete()) << i << cut;
    }
  }
}

}  // namespace
}  // namespace fmaserver::rpc
