// A folder for the files of one test, and whole-file reading and writing.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace fmaserver::testing {

/// A new empty folder; the destructor removes it with everything in it.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// False when the file could not be written completely.
bool WriteFile(const std::filesystem::path& file, std::string_view bytes);

/// Empty when the file cannot be read.
std::string ReadFile(const std::filesystem::path& file);

}  // namespace fmaserver::testing
