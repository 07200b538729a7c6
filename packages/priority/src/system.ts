/** What the system is like, for those who must know. Which package is for which system, core alone knows. */
export const isWindows = process.platform === 'win32'
export const isLinux = process.platform === 'linux'
