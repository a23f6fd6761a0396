# SPDX-License-Identifier: BSL-1.0
"""A Conan 2 recipe; the version is read from include/plumb/config.hpp."""
import re
from pathlib import Path

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout


class Plumb(ConanFile):
    name = "plumb"
    description = "Aligns language models inside C++ programs; header-only, C++20"
    license = "BSL-1.0"
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    requires = "boost/[>=1.75]", "eigen/[>=3.4]", "range-v3/[>=0.12]"
    exports = "include/plumb/config.hpp"
    exports_sources = "CMakeLists.txt", "LICENSE", "cmake/*", "include/*", "src/*"
    no_copy_source = True

    def set_version(self):
        text = (Path(self.recipe_folder) / "include/plumb/config.hpp").read_text(encoding="utf-8")
        number = int(re.search(r"^#define PLUMB_VERSION (\d+)$", text, re.MULTILINE).group(1))
        self.version = f"{number // 10000}.{number // 100 % 100}.{number % 100}"

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        toolchain.variables["PLUMB_BUILD_TESTS"] = False
        toolchain.variables["PLUMB_BUILD_EXAMPLES"] = False
        toolchain.generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        CMake(self).install()

    def package_id(self):
        self.info.clear()

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        # The package's own CMake files define plumb::plumb and build Boost.JSON's bodies where they are needed.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = ["share/cmake/plumb"]
