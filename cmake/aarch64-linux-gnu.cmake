# Cross-compiling for 64-bit ARM with Debian's g++-aarch64-linux-gnu, which sees header-only libraries in /usr/include.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
